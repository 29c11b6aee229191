"""Inputs about permits: what a limiter answers, and the timer of an address that waits for a permit or holds one."""

from __future__ import annotations

import msgspec

from contracts.limits import PermitDeferred, PermitGranted
from orchestrator.engine.blocks import command
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.decision import Measure, Reason
from orchestrator.engine.limiter import limiter_id
from orchestrator.engine.permits import (
    LEASE_MARGIN_MS,
    PERMIT_TIMER,
    SAGA_ADDRESS,
    Wanted,
    address_of,
    ask,
    ask_again,
    give_back,
    keep,
    release,
    renewal_ms,
    renewed,
    wait,
    wanted_at,
    wanted_now,
)
from orchestrator.engine.process import Permit
from orchestrator.engine.turn import Turn

OPEN = ("asked", "deferred")


def hear(turn: Turn) -> Reason | None:
    """Apply the turn's input, if a limiter has sent it. A reason: it is ignored, and nothing has changed."""
    try:
        if turn.item.envelope.type == PermitGranted.type:
            return _granted(turn, parse_payload(PermitGranted, turn.item.data))
        if turn.item.envelope.type == PermitDeferred.type:
            return _deferred(turn, parse_payload(PermitDeferred, turn.item.data))
    except PayloadInvalid:
        return "invalid-payload"
    return "unexpected-type"


def _find(turn: Turn, request: str) -> tuple[str, Permit | None]:
    """The address that has made the request, and what it has; None: it does not know the request. A slot of a rate is
    as good for whichever request of the same try asked for it: the one before may have been answered late."""
    if request.count("/") < 4 or not request.startswith(f"{turn.before.id}/"):
        return "", None
    address = address_of(request)
    permit = turn.permits.get(address)
    if permit is None:
        return address, None
    same_try = permit.request.rpartition("/")[0] == request.rpartition("/")[0]
    is_rate = permit.limiter.startswith(limiter_id("rate", ""))
    known = permit.request == request or (same_try and is_rate) or any(request == held for _, held in permit.held)
    return address, permit if known else None


def _granted(turn: Turn, granted: PermitGranted) -> Reason | None:
    address, permit = _find(turn, granted.request)
    if permit is None:
        return _not_needed(turn, granted)
    if permit.limiter != granted.limiter or permit.state not in OPEN:
        return "duplicate"
    wanted = wanted_now(turn, address, permit)
    if wanted is None:
        _start_over(turn, address)
        return None
    if wanted.kind == "concurrency":
        since_ms = permit.renewed_at_ms if permit.held else granted.not_before_ms
        held = (*permit.held, (permit.limiter, permit.request))
        _advance(turn, address, wanted, msgspec.structs.replace(permit, held=held, renewed_at_ms=since_ms))
        return None
    due = msgspec.structs.replace(permit, state="due", due_ms=granted.not_before_ms)
    if turn.now_ms < granted.not_before_ms:
        turn.note(f"{address}: {wanted.name} lets it go on in {granted.not_before_ms - turn.now_ms} ms")
        wait(turn, address, due, granted.not_before_ms)
    else:
        _use(turn, address, wanted, due)
    return None


def _not_needed(turn: Turn, granted: PermitGranted) -> Reason | None:
    """It was withdrawn, or the process has ended: a place that is held for nobody is given back at once."""
    if not granted.limiter.startswith(limiter_id("concurrency", "")):
        return "not-awaited"
    turn.note(f"the permit {granted.request} is not needed any more: it is given back")
    give_back(turn, granted.limiter, granted.request)
    return None


def _deferred(turn: Turn, deferred: PermitDeferred) -> Reason | None:
    address, permit = _find(turn, deferred.request)
    if permit is None:
        return "not-awaited"
    if permit.request != deferred.request or permit.state != "asked":
        return "duplicate"
    turn.note(f"{address}: too many wait for {deferred.limiter}; it asks again")
    wait(turn, address, msgspec.structs.replace(permit, state="deferred"), deferred.again_at_ms)
    return None


def on_timer(turn: Turn, address: str) -> None:
    """The answer is overdue, the time of a slot has come, or leases are half over."""
    turn.clear_timer(f"{address}/{PERMIT_TIMER}")
    permit = turn.permits[address]
    if permit.state == "held" and turn.stuck:
        turn.note(f"what waits for a person holds its place at {permit.limiter} no longer")
        return
    if permit.held and turn.now_ms >= renewal_ms(turn, address, permit):
        permit = renewed(turn, address, permit)
    if permit.state == "held":
        wait(turn, address, permit, renewal_ms(turn, address, permit))
        return
    wanted = wanted_now(turn, address, permit)
    if wanted is None:
        _start_over(turn, address)
    elif permit.state in OPEN:
        ask_again(turn, address, permit, wanted)
    elif turn.now_ms < permit.due_ms:
        wait(turn, address, permit, permit.due_ms)
    else:
        _use(turn, address, wanted, permit)


def _start_over(turn: Turn, address: str) -> None:
    """Its definition has other limits by now: what it has is given back, and those are asked for."""
    turn.note(f"{address} has other limits by now")
    release(turn, address)
    if wanted_at(turn, address):
        ask(turn, address)
    else:
        _go(turn, address, Permit(request="", limiter="", state="held"))


def _use(turn: Turn, address: str, wanted: Wanted, permit: Permit) -> None:
    """The time of a slot has come, or passed."""
    late_ms = turn.now_ms - permit.due_ms
    if not wanted.is_valid(late_ms, permit.late):
        turn.note(f"{address}: its time at {wanted.name} passed {late_ms} ms ago; it asks anew")
        ask(turn, address, msgspec.structs.replace(permit, late=permit.late + 1))
    else:
        _advance(turn, address, wanted, permit)


def _advance(turn: Turn, address: str, wanted: Wanted, permit: Permit) -> None:
    waited_ms = turn.now_ms - permit.asked_at_ms
    turn.measures.append(Measure("permit", turn.plan.saga.name, wanted.name, wanted.kind, waited_ms))
    permit = msgspec.structs.replace(permit, stage=permit.stage + 1, late=0)
    if permit.stage < len(wanted_at(turn, address)):
        ask(turn, address, permit)
    else:
        _go(turn, address, permit)


def _go(turn: Turn, address: str, permit: Permit) -> None:
    """It has all its permits."""
    turn.clear_timer(f"{address}/{PERMIT_TIMER}")
    if permit.held and turn.now_ms - permit.renewed_at_ms > LEASE_MARGIN_MS:
        permit = renewed(turn, address, permit)
    if permit.held:
        keep(turn, address, msgspec.structs.replace(permit, state="held", due_ms=0))
    else:
        turn.permits = {other: kept for other, kept in turn.permits.items() if other != address}
    if address != SAGA_ADDRESS:
        node = turn.plan.find(address)
        assert node is not None, "a permit has a place in the saga"
        command.permitted(turn, node)
        return
    if permit.held:
        wait(turn, address, turn.permits[address], renewal_ms(turn, address, permit))
    turn.start(turn.plan.nodes[turn.plan.body_root])  # nothing begins if it was called off meanwhile
