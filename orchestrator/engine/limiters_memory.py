"""Limiters beside one process, folded in memory: for tests and rehearsals, which have no log."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.envelope import Envelope
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.process import TimerFired
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX
from orchestrator.engine.inputs import Input, read_input
from orchestrator.engine.limiter import LEASE_TIMER, LIMITER_PREFIX, decide_limiter
from orchestrator.engine.process import Process


def is_for_limiter(record: OutgoingRecord) -> bool:
    return record.topic == INBOX and (record.key or b"").startswith(LIMITER_PREFIX.encode())


class MemoryLimiters:
    """All limiters there are, each in the state that its inputs have made. Time is the caller's."""

    def __init__(self) -> None:
        self.states: dict[str, Process] = {}
        self._offset = 0

    def tell(self, records: Iterable[OutgoingRecord], now_ms: int) -> tuple[OutgoingRecord, ...]:
        """Requests and releases, at that time; what leases have ended by then is free. Returns what is answered."""
        answers = list(self.pass_time(now_ms))
        for record in records:
            incoming = IncomingRecord(
                record.topic, 0, self._offset, now_ms, record.key, record.value, record.headers
            )  # fmt: skip
            answers.extend(self._fold(read_input(incoming)))
        return tuple(answers)

    def pass_time(self, now_ms: int) -> tuple[OutgoingRecord, ...]:
        """Leases end. Returns what is answered to those who wait."""
        answers: list[OutgoingRecord] = []
        for limiter in list(self.states):
            due_ms = self.states[limiter].timers.get(LEASE_TIMER)
            while due_ms is not None and due_ms <= now_ms:
                answers.extend(self._fold(self._timer(limiter, due_ms)))
                due_ms = self.states[limiter].timers.get(LEASE_TIMER)
        return tuple(answers)

    def _timer(self, limiter: str, due_ms: int) -> Input:
        fired = TimerFired(process_id=limiter, timer_id=LEASE_TIMER, due_ms=due_ms)
        envelope = Envelope(
            id=f"{limiter}/timer/{LEASE_TIMER}/{due_ms}", source=ORCHESTRATOR_SOURCE, type=fired.type
        )  # fmt: skip
        return Input(self._offset, due_ms, limiter, envelope, fired.to_json())

    def _fold(self, item: Input) -> tuple[OutgoingRecord, ...]:
        self._offset += 1
        decision = decide_limiter(self.states.get(item.process_id), item)
        if decision.process is not None:
            self.states[item.process_id] = decision.process
        return decision.effects
