"""A limiter as it must be: the fold of its inputs, and an account of its own of who holds what."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.envelope import decode_headers
from contracts.limits import PermitDeferred, PermitGranted, PermitReleased, PermitRequested
from contracts.process import TimerFired
from contracts.record import OutgoingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.inputs import Input
from orchestrator.engine.limiter import requester_of
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.reading import Sent

LAG_MS = 1
"""Slots are rounded up to milliseconds."""


@dataclass(slots=True)
class LimiterFold:
    """As `orchestrator.testkit.fold.Fold`, of a process without a saga. Raises Broken."""

    book: SagaBook
    process: Process | None = None
    fed: list[Fed] = field(default_factory=list)

    def feed(self, item: Input) -> Fed:
        before = self.process
        twin = None if before is None else decode_process(encode_process(before))
        decision = decide(self.book, before, item)
        if decision != decide(self.book, twin, item):
            raise Broken("a limiter that was stored and loaded decides otherwise than one that stayed in memory")
        fed = Fed(self.book, item, before, decision, tuple(map(_read, decision.effects)))
        self.process = decision.process
        self.fed.append(fed)
        return fed

    def refold(self) -> None:
        """The same inputs give the same decisions again, byte for byte."""
        process: Process | None = None
        for fed in self.fed:
            decision = decide(self.book, process, fed.item)
            process = decision.process
            if decision != fed.decision:
                raise Broken(f"offset {fed.item.offset}: folded again, the same input is decided otherwise")


@dataclass(slots=True)
class LimiterJudge:
    """What was asked, granted and given back, in the order of the log."""

    line: list[str] = field(default_factory=list)
    """Requests for a place that were not granted yet, the first first."""
    leases_ms: dict[str, int] = field(default_factory=dict)
    """How long each request may hold what it is granted."""
    held_until_ms: dict[str, int] = field(default_factory=dict)
    count: int = 0
    last_slot_ms: int = 0
    interval_ms: int = 0

    def see(self, fed: Fed) -> None:
        """Raises Broken."""
        kind, data = fed.item.envelope.type, fed.item.data
        now_ms = max(fed.item.at_ms, 0 if fed.before is None else fed.before.updated_at_ms)
        if kind == PermitRequested.type:
            self._asked(PermitRequested.model_validate_json(data), now_ms)
        elif kind == PermitReleased.type:
            request = PermitReleased.model_validate_json(data).request
            self.held_until_ms.pop(request, None)
            self.line = [one for one in self.line if one != request]
        elif kind == TimerFired.type and fed.decision.result == "applied":
            self.held_until_ms = {one: until for one, until in self.held_until_ms.items() if until > now_ms}
        for sent in fed.sent:
            if isinstance(sent.message, PermitGranted):
                self._granted(sent.message, now_ms)

    def _asked(self, asked: PermitRequested, now_ms: int) -> None:
        self.count = asked.count
        if asked.period_ms is not None:
            self.interval_ms = asked.period_ms // asked.count if asked.burst in (None, 1) and asked.count == 1 else 0
            return
        assert asked.lease_ms is not None
        self.leases_ms[asked.request] = asked.lease_ms
        if asked.request in self.held_until_ms:
            self.held_until_ms[asked.request] = now_ms + asked.lease_ms
        elif asked.request not in self.line:
            self.line.append(asked.request)

    def _granted(self, granted: PermitGranted, now_ms: int) -> None:
        request = granted.request
        if request not in self.leases_ms:
            if granted.not_before_ms - self.last_slot_ms < self.interval_ms - LAG_MS:
                raise Broken(f"{request} is granted {granted.not_before_ms - self.last_slot_ms} ms after another")
            self.last_slot_ms = granted.not_before_ms
            return
        if request not in self.held_until_ms:
            if request != self.line[0]:
                raise Broken(f"{request} is granted, and {self.line[0]} has waited longer")
            del self.line[0]
        self.held_until_ms[request] = now_ms + self.leases_ms[request]
        if len(self.held_until_ms) > self.count:
            raise Broken(f"{sorted(self.held_until_ms)} hold places, and there are {self.count}")

    def end(self, after: Process) -> None:
        """Nothing is on its way any more. Raises Broken."""
        state = after.limiter
        assert state is not None
        held, line = {*state.leases, *self.held_until_ms}, {request for piece in state.waiting for request in piece}
        if held or line or self.line:
            raise Broken(f"{sorted(held)} still hold places, and {sorted({*line, *self.line})} wait")


def _read(record: OutgoingRecord) -> Sent:
    envelope = decode_headers(record.headers)
    model = PermitGranted if envelope.type == PermitGranted.type else PermitDeferred
    message = model.model_validate_json(record.value or b"")
    return Sent("permit", requester_of(message.request), 0, envelope, model, record, False)
