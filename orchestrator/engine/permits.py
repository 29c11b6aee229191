"""What a process does about its limits: it asks for one permit after the other, renews what it holds, and gives back.

Of several limits the concurrencies come first, in order of their names, and then the rates: whoever holds one permit
waits for later ones only, so that nobody waits in a circle, and no slot of a rate passes while a place is waited for.
What is answered is in `permit_inputs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from contracts.limits import PermitReleased, PermitRequested
from orchestrator.engine.effects import Effect, inbox_effect
from orchestrator.engine.limiter import interval_of_us, limiter_id
from orchestrator.engine.process import Permit
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import CommandStep
from orchestrator.language.limits import Limit, Rate, limiter_of

SAGA_ADDRESS = "#saga"
"""Where the whole process has its permits. No step is called so."""
PERMIT_TIMER = "permit"
ASK_AGAIN_MS = 5 * 60 * 1000
"""A request without an answer is repeated after so long: an engine that knew no limits may have ignored it."""
LEASE_MARGIN_MS = 5 * 60 * 1000
"""A step's lease is its patience and this: for the way of the messages, and for the wait for a rate behind it."""
SAGA_LEASE_MS = 12 * 60 * 60 * 1000
"""Of a whole process; renewed at half time, for as long as it runs and is not stuck."""
SLOT_VALID_MS = 2_000
"""A slot of a rate that is used later is thrown away, and another asked for: after an outage all would be used at once.
(At a rate that is slower, the interval between two slots.)"""
LATE_MAX = 6
"""With each slot that came too late the next is valid twice as long; after so many, one is used whenever it comes: a
system that is always late goes on all the same."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of the limits at an address, and the limiter that knows it."""

    kind: str
    name: str
    limit: Limit

    @property
    def limiter(self) -> str:
        return limiter_id(self.kind, self.name)

    def is_valid(self, by_ms: int, late: int) -> bool:
        """Whether a slot may be used so long after its time, if `late` before it were not."""
        assert isinstance(self.limit, Rate)
        period_ms = round(self.limit.period.total_seconds() * 1000)
        interval_ms = interval_of_us(self.limit.count, period_ms) // 1_000
        return late >= LATE_MAX or by_ms <= max(SLOT_VALID_MS, interval_ms) << late


def wanted_at(turn: Turn, address: str) -> tuple[Wanted, ...]:
    """The limits of a step or of the process, in the order in which permits are asked for."""
    saga = turn.plan.saga
    if address == SAGA_ADDRESS:
        limits, default = saga.limits, saga.name
    else:
        node = turn.plan.find(address)
        limits = node.block.limits if node is not None and isinstance(node.block, CommandStep) else ()
        default = f"{saga.name}.{node.name}" if node is not None else ""
    return tuple(sorted((Wanted(*limiter_of(one, default), one) for one in limits), key=lambda w: (w.kind, w.name)))


def wanted_now(turn: Turn, address: str, permit: Permit) -> Wanted | None:
    """What the address waits for; None: its definition has other limits by now (it was mended, or migrated)."""
    wanted = wanted_at(turn, address)
    found = wanted[permit.stage] if permit.stage < len(wanted) else None
    return found if found is not None and found.limiter == permit.limiter else None


def lease_ms(turn: Turn, address: str) -> int:
    node = None if address == SAGA_ADDRESS else turn.plan.find(address)
    if node is None or not isinstance(node.block, CommandStep):
        return SAGA_LEASE_MS
    return round(node.block.patience.total_seconds() * 1000) + LEASE_MARGIN_MS


def ask(turn: Turn, address: str, before: Permit | None = None) -> None:
    """Ask for the first permit; `before`: for the one that follows what is behind it."""
    stage = 0 if before is None else before.stage
    wanted, held = wanted_at(turn, address)[stage], () if before is None else before.held
    permit = Permit(
        request=_new_request(turn, address),
        limiter=wanted.limiter,
        state="asked",
        stage=stage,
        asked_at_ms=before.asked_at_ms if before is not None and before.late else turn.now_ms,
        renewed_at_ms=before.renewed_at_ms if held and before is not None else turn.now_ms,
        late=0 if before is None else before.late,
        held=held,
    )
    turn.note(f"{_named(address)} asks for a permit of {wanted.name} ({wanted.kind})")
    turn.send(_request(turn, address, wanted, permit.request))
    wait(turn, address, permit, turn.now_ms + ASK_AGAIN_MS)


def _new_request(turn: Turn, address: str) -> str:
    """No address asks twice in one turn, and each turn has its revision."""
    state = turn.steps.get(address)
    number = 0 if address == SAGA_ADDRESS else 1 + (len(state.tries) if state is not None else 0)
    return f"{turn.before.id}/{address}/{number}/permit/{turn.before.revision + 1}"


def address_of(request: str) -> str:
    """Where a request was made: `<process>/<address>/<try>/permit/<revision>`."""
    return request.split("/")[1]


def ask_again(turn: Turn, address: str, permit: Permit, wanted: Wanted) -> None:
    """The same request once more: the limiter knows it, or has lost or deferred it."""
    turn.send(_request(turn, address, wanted, permit.request, again="again"))
    wait(turn, address, msgspec.structs.replace(permit, state="asked"), turn.now_ms + ASK_AGAIN_MS)


def _request(
    turn: Turn, address: str, wanted: Wanted, request: str, again: Literal["", "again", "renewal"] = ""
) -> Effect:
    limit = wanted.limit
    rate = limit if isinstance(limit, Rate) else None
    asked = PermitRequested(
        process_id=wanted.limiter,
        request=request,
        count=limit.count,
        period_ms=None if rate is None else round(rate.period.total_seconds() * 1000),
        burst=None if rate is None else rate.burst,
        lease_ms=lease_ms(turn, address) if rate is None else None,
        renewal=again == "renewal",
    )
    return _effect(turn, asked, f"{request}/{again}/{turn.before.revision + 1}" if again else request)


def _effect(turn: Turn, message: PermitRequested | PermitReleased, identity: str) -> Effect:
    return inbox_effect(
        message,
        message.process_id,
        id=identity,
        now_ms=turn.now_ms,
        causation=turn.item.envelope.id,
        traceparent=turn.before.start.traceparent,
    )


def keep(turn: Turn, address: str, permit: Permit) -> None:
    turn.permits = {**turn.permits, address: permit}


def wait(turn: Turn, address: str, permit: Permit, until_ms: int) -> None:
    """Look again at that time, or when what is held must be renewed."""
    keep(turn, address, permit)
    if permit.held:
        until_ms = min(until_ms, renewal_ms(turn, address, permit))
    turn.set_timer(f"{address}/{PERMIT_TIMER}", max(until_ms, turn.now_ms + 1))


def renewal_ms(turn: Turn, address: str, permit: Permit) -> int:
    """When the leases are half over."""
    return permit.renewed_at_ms + lease_ms(turn, address) // 2


def renewed(turn: Turn, address: str, permit: Permit) -> Permit:
    """The leases of all that is held begin anew."""
    known = {wanted.limiter: wanted for wanted in wanted_at(turn, address)}
    for limiter, request in permit.held:
        if limiter in known:
            turn.send(_request(turn, address, known[limiter], request, again="renewal"))
    return msgspec.structs.replace(permit, renewed_at_ms=turn.now_ms)


def release(turn: Turn, address: str) -> None:
    """Give back what the address has, and withdraw what it asks for. A slot of a rate is spent, used or not."""
    permit = turn.permits.get(address)
    if permit is None:
        return
    open_requests = permit.held
    if permit.state in ("asked", "deferred") and permit.limiter.startswith(limiter_id("concurrency", "")):
        open_requests = (*open_requests, (permit.limiter, permit.request))
    for limiter, request in open_requests:
        give_back(turn, limiter, request)
    turn.permits = {other: kept for other, kept in turn.permits.items() if other != address}
    turn.clear_timer(f"{address}/{PERMIT_TIMER}")


def give_back(turn: Turn, limiter: str, request: str) -> None:
    released = PermitReleased(process_id=limiter, request=request)
    turn.send(_effect(turn, released, f"{request}/released/{turn.before.revision + 1}"))


def release_all(turn: Turn) -> None:
    """The process has ended."""
    for address in list(turn.permits):
        release(turn, address)


def _named(address: str) -> str:
    return "the process" if address == SAGA_ADDRESS else address
