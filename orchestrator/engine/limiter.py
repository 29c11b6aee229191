"""All transitions of a limiter: the process `limiter:<kind>:<name>`, folded like every other (docs/decisions/0079).

A rate is one number (GCRA, the generic cell rate algorithm of ITU-T I.371): a request is granted at once, with the time
from which it may be used, and the process that asked sets its own timer. So there is neither a line nor a timer here.

A concurrency has a line, first in first out, and a lease for every permit under way. A lease ends by a release, or by
time, so that a release that never comes blocks nothing for good. One timer, for the lease that ends first or sooner.

A limiter has no history of its own: what it was asked and what it answered is in the histories of those who asked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec
from pydantic import ValidationError

from contracts.limits import PermitDeferred, PermitGranted, PermitReleased, PermitRequested
from contracts.process import TimerFired
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.decision import Decision, LimiterMeasure
from orchestrator.engine.effects import Effect, inbox_effect
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import NO_START, Limiter, Process
from orchestrator.engine.waiting_line import Line, contains, first, joined, left, length

LIMITER_SAGA = "limiter"
LIMITER_PREFIX = f"{LIMITER_SAGA}:"
LEASE_TIMER = "lease"
WAITING_MAX = 10_000
"""Requests in the line of one limiter; more are told to ask again later."""
REQUESTS_LENGTH_MAX = 768 * 1024
"""Characters of all requests that one limiter keeps: its state must fit into one record of a topic."""
DEFER_MS = 30_000
"""How long who is told to ask again waits at least; a time that depends on the request comes on top, up to as much."""


def limiter_id(kind: str, name: str) -> str:
    return f"{LIMITER_PREFIX}{kind}:{name}"


def requester_of(request: str) -> str:
    """The process that made a request: its id comes first, and has no slash."""
    return request.partition("/")[0]


def decide_limiter(before: Process | None, item: Input) -> Decision:
    """Fold one input into a limiter."""
    try:
        if item.envelope.type == PermitRequested.type:
            return _requested(before, item, parse_payload(PermitRequested, item.data))
        if item.envelope.type == PermitReleased.type:
            return _released(before, item, parse_payload(PermitReleased, item.data))
        if item.envelope.type == TimerFired.type:
            return _timer_fired(before, item, TimerFired.model_validate_json(item.data))
    except (PayloadInvalid, ValidationError):
        return Decision(before, "ignored", "invalid-payload")
    return Decision(before, "ignored", "unexpected-type")


def _new(item: Input) -> Process:
    return Process(
        id=item.process_id,
        saga=LIMITER_SAGA,
        version=1,
        start=NO_START,
        phase="limiter",
        started_at_ms=item.at_ms,
        updated_at_ms=item.at_ms,
        limiter=Limiter(),
    )


def _requested(before: Process | None, item: Input, asked: PermitRequested) -> Decision:
    process = before or _new(item)
    if asked.period_ms is not None:
        return _rate(process, item, asked, asked.period_ms)
    if asked.lease_ms is None:
        return Decision(before, "ignored", "invalid-payload")
    work = _Work.of(process, item)
    work.count = asked.count
    if asked.request in work.leases:
        work.lease(asked.request, asked.lease_ms)
        if not asked.renewal:
            work.answers.append((asked.request, None))  # the grant may have been lost
    elif contains(work.waiting, asked.request):
        return Decision(before, "ignored", "duplicate")
    else:
        work.join(asked.request, asked.lease_ms)
    work.serve()
    return work.decision()


def _released(before: Process | None, item: Input, given: PermitReleased) -> Decision:
    if before is None:
        return Decision(None, "ignored", "no-process")
    work = _Work.of(before, item)
    if work.leases.pop(given.request, None) is None:
        if not contains(work.waiting, given.request):
            return Decision(before, "ignored", "stale")
        work.waiting = left(work.waiting, given.request)
    work.size -= len(given.request)
    work.serve()
    return work.decision()


def _timer_fired(before: Process | None, item: Input, fired: TimerFired) -> Decision:
    due_ms = None if before is None else before.timers.get(fired.timer_id)
    if before is None or due_ms is None:
        return Decision(before, "ignored", "stale")
    work = _Work.of(before, item)
    if work.now_ms < due_ms:
        return Decision(before, "ignored", "premature")
    work.expire()
    work.serve()
    return work.decision()


# A rate.


@dataclass(frozen=True, slots=True)
class Slot:
    """A permit of a rate: when it may be used, how many are given away before that, and what follows."""

    not_before_ms: int
    ahead: int
    next_us: int


def next_slot(next_us: int, now_ms: int, count: int, period_ms: int, burst: int) -> Slot:
    """The earliest permit. `next_us`: that of the permit before, or 0. In whole microseconds and then milliseconds,
    rounded so that the rate is never exceeded."""
    interval_us = interval_of_us(count, period_ms)
    now_us = now_ms * 1_000
    arrival_us = max(next_us, now_us)
    slot_us = max(now_us, arrival_us - (burst - 1) * interval_us)
    ahead = -(-(slot_us - now_us) // interval_us)
    return Slot(-(-slot_us // 1_000), ahead, arrival_us + interval_us)


def interval_of_us(count: int, period_ms: int) -> int:
    """Between two permits, on average: microseconds, rounded up."""
    return -(-period_ms * 1_000 // count)


def _rate(process: Process, item: Input, asked: PermitRequested, period_ms: int) -> Decision:
    assert process.limiter is not None
    now_ms = max(item.at_ms, process.updated_at_ms)
    slot = next_slot(process.limiter.next_us, now_ms, asked.count, period_ms, asked.burst or asked.count)
    after = msgspec.structs.replace(
        process, updated_at_ms=now_ms, revision=process.revision + 1, limiter=Limiter(next_us=slot.next_us)
    )
    granted = _granted(after, asked.request, slot.not_before_ms, item)
    measure = LimiterMeasure(*_label(process.id), granted=1, deferred=0, expired=0, waiting=slot.ahead)
    return Decision(after, "applied", effects=(granted.record,), measures=(measure,))


def _granted(limiter: Process, request: str, not_before_ms: int, item: Input) -> Effect:
    """`limiter`: after this turn. Its revision tells this answer from an earlier one to the same request."""
    target = requester_of(request)
    granted = PermitGranted(process_id=target, limiter=limiter.id, request=request, not_before_ms=not_before_ms)
    return inbox_effect(
        granted,
        target,
        id=f"{request}/granted/{limiter.revision}",
        now_ms=limiter.updated_at_ms,
        causation=item.envelope.id,
    )


def _label(process_id: str) -> tuple[str, str]:
    """Kind and name."""
    kind, _, name = process_id.removeprefix(LIMITER_PREFIX).partition(":")
    return kind, name


# A concurrency.


@dataclass(slots=True)
class _Work:
    """A concurrency in the making; lives for one input."""

    process: Process
    item: Input
    now_ms: int
    leases: dict[str, int]
    waiting: Line
    size: int
    count: int
    timer_ms: int | None
    answers: list[tuple[str, int | None]] = field(default_factory=list)
    """Request, and when to ask again (None: it is granted)."""
    expired: int = 0

    @staticmethod
    def of(process: Process, item: Input) -> _Work:
        state = process.limiter
        assert state is not None, "a limiter has its state"
        return _Work(
            process,
            item,
            max(item.at_ms, process.updated_at_ms),
            dict(state.leases),
            state.waiting,
            state.size,
            state.count,
            process.timers.get(LEASE_TIMER),
        )

    def join(self, request: str, lease_ms: int) -> None:
        """To the end of the line, if it is not full."""
        if length(self.waiting) >= WAITING_MAX or self.size + len(request) > REQUESTS_LENGTH_MAX:
            self.answers.append((request, self.now_ms + DEFER_MS + _spread_ms(request)))
            return
        self.waiting = joined(self.waiting, request, lease_ms)
        self.size += len(request)

    def serve(self) -> None:
        """Who has waited longest gets what is free."""
        while self.waiting and len(self.leases) < self.count:
            request, lease_ms = first(self.waiting)
            self.waiting = left(self.waiting, request)
            self.lease(request, lease_ms)
            self.answers.append((request, None))

    def lease(self, request: str, lease_ms: int) -> None:
        until_ms = self.now_ms + lease_ms
        self.leases[request] = until_ms
        self.timer_ms = until_ms if self.timer_ms is None else min(self.timer_ms, until_ms)

    def expire(self) -> None:
        """Leases that have ended are free; the timer is set to the one that ends next."""
        ended = [request for request, until_ms in self.leases.items() if until_ms <= self.now_ms]
        for request in ended:
            del self.leases[request]
            self.size -= len(request)
        self.expired = len(ended)
        self.timer_ms = min(self.leases.values(), default=None)

    def decision(self) -> Decision:
        state = Limiter(leases=self.leases, waiting=self.waiting, size=self.size, count=self.count)
        timers = {LEASE_TIMER: self.timer_ms} if self.leases and self.timer_ms is not None else {}
        after = msgspec.structs.replace(
            self.process,
            updated_at_ms=self.now_ms,
            revision=self.process.revision + 1,
            timers=timers,
            limiter=state,
        )
        effects = tuple(self._answer(after, request, again_ms).record for request, again_ms in self.answers)
        granted = sum(again_ms is None for _, again_ms in self.answers)
        measure = LimiterMeasure(
            *_label(after.id), granted, len(self.answers) - granted, self.expired, length(self.waiting)
        )
        return Decision(after, "applied", effects=effects, measures=(measure,))

    def _answer(self, after: Process, request: str, again_ms: int | None) -> Effect:
        if again_ms is None:
            return _granted(after, request, self.now_ms, self.item)
        target = requester_of(request)
        deferred = PermitDeferred(process_id=target, limiter=after.id, request=request, again_at_ms=again_ms)
        return inbox_effect(
            deferred,
            target,
            id=f"{request}/deferred/{after.revision}",
            now_ms=after.updated_at_ms,
            causation=self.item.envelope.id,
        )


def _spread_ms(request: str) -> int:
    """So that those who were told at once do not come back at once."""
    return int.from_bytes(hashlib.sha256(request.encode()).digest()[:4]) % DEFER_MS
