"""Random limits on a saga, and limiters whose places are taken by others at first: for the explorer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TypeVar

from contracts.envelope import Envelope, encode_headers
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.limits import PermitRequested
from contracts.record import OutgoingRecord
from contracts.topics import INBOX
from orchestrator.engine.limiter import limiter_id
from orchestrator.engine.limiters_memory import MemoryLimiters, is_for_limiter
from orchestrator.language.blocks import Block, CommandStep, Parallel, Sequence
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat
from orchestrator.language.limits import Concurrency, Limit, Rate
from orchestrator.language.saga import Saga
from orchestrator.testkit.inbox import FIRST_MS
from orchestrator.testkit.reading import Sent

PLACES, SPEED, WHOLE = "places", "speed", "whole"
COUNT = 2
RATE = Rate(1, per=timedelta(seconds=2), name=SPEED)
LIMITS: tuple[tuple[Limit, ...], ...] = (
    (),
    (Concurrency(COUNT, name=PLACES),),
    (RATE,),
    (Concurrency(COUNT, name=PLACES), RATE),
)
B = TypeVar("B", bound=Block)


def with_limits(random: Random, saga: Saga) -> Saga:
    """Some of its steps have limits, and perhaps the whole of it. The steps share two limiters."""
    cancelled = None if saga.cancelled is None else _limited(random, saga.cancelled)
    limit = random.choice((None, Concurrency(1, name=WHOLE)))
    return replace(saga, body=_limited(random, saga.body), cancelled=cancelled, limit=limit)


def without_limits(saga: Saga) -> Saga:
    cancelled = None if saga.cancelled is None else _limited(None, saga.cancelled)
    return replace(saga, body=_limited(None, saga.body), cancelled=cancelled, limit=None)


def _limited(random: Random | None, block: B) -> B:
    """`random`: who chooses; None: no limits."""
    match block:
        case CommandStep():
            return replace(block, limits=() if random is None else random.choice(LIMITS))
        case Sequence() | Parallel() | Fallback():
            return replace(block, children=tuple(_limited(random, child) for child in block.children))
        case Choice():
            branches = tuple(replace(one, block=_limited(random, one.block)) for one in block.branches)
            return replace(block, branches=branches)
        case ForEach() | Repeat():
            return replace(block, body=_limited(random, block.body))
    return block


class BusyLimiters:
    """The real ones. Others hold places at first, and never give them back: their leases end."""

    def __init__(self, random: Random, saga: Saga) -> None:
        self._limiters = MemoryLimiters()
        if not saga.limits and not any(isinstance(step, CommandStep) and step.limits for step in saga.steps()):
            return
        for name in (PLACES, WHOLE):
            others = range(random.choice((0, 0, 1, 3)))
            requests = [place_request(name, f"o:{number}", random.choice((5_000, 400_000))) for number in others]
            self._limiters.tell(requests, FIRST_MS)

    def answers(self, sent: Iterable[Sent], now_ms: int, process_id: str) -> list[OutgoingRecord]:
        """What is said to this process, when it says that."""
        asked = [one.record for one in sent if is_for_limiter(one.record)]
        if not asked and not self._limiters.states:
            return []
        answers = self._limiters.tell(asked, now_ms)
        return [record for record in answers if record.key == process_id.encode()]

    def held(self) -> list[str]:
        """Requests that hold a place, or wait for one."""
        states = [one.limiter for one in self._limiters.states.values() if one.limiter is not None]
        return [
            request for state in states for piece in (state.leases, *state.waiting) for request in piece
        ]  # fmt: skip


def place_request(name: str, process_id: str, lease_ms: int) -> OutgoingRecord:
    """A process asks for a place, and will never give it back."""
    limiter = limiter_id("concurrency", name)
    count = 1 if name == WHOLE else COUNT
    asked = PermitRequested(process_id=limiter, request=f"{process_id}/s/1/permit/1", count=count, lease_ms=lease_ms)
    headers = encode_headers(Envelope(id=asked.request, source=ORCHESTRATOR_SOURCE, type=asked.type))
    return OutgoingRecord(INBOX, limiter.encode(), asked.to_json(), headers)
