"""The inbox of one process as a test writes it: real records, with deterministic ids, offsets and times."""

from __future__ import annotations

from datetime import timedelta

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import ORCHESTRATOR_SOURCE, child_answer_id
from contracts.message import Message
from contracts.process import (
    ApprovalGiven,
    CancelRequested,
    ChildEnded,
    MigrationRequested,
    OperatorAction,
    SignalSent,
    TimerFired,
    ToChild,
)
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER, Input, read_input
from orchestrator.engine.process import Process
from orchestrator.language.waiting import Signal

FIRST_MS = 1_767_258_000_000
"""2026-01-01T09:00:00Z: when every test begins (broker time)."""


class Inbox:
    """Appends inputs, in virtual time. `now_ms` is the append time of the next one."""

    def __init__(self, process_id: str, saga: str, version: int) -> None:
        self.process_id = process_id
        self.now_ms = FIRST_MS
        self._saga = saga
        self._version = version
        self._next = 0

    def advance(self, by: timedelta) -> None:
        self.now_ms += round(by.total_seconds() * 1000)

    def start(self, event: Message, *, id: str, source: str, version: int | None = None) -> Input:
        """A start event, with the stamp that the router puts on it."""
        envelope = Envelope(id=id, source=source, type=event.type, time=format_time(self.now_ms))
        return self._append(envelope, event.to_json(), (self._saga, version or self._version))

    def answer(self, event: Message, causation: str, *, data: bytes | None = None) -> Input:
        """What a participant says about a command. `data` replaces the payload (a participant in error)."""
        context = event.type.split(".", 1)[0]
        envelope = Envelope(
            id=f"answer-{self._next}",
            source=f"/counterpoint/{context}",
            type=event.type,
            time=format_time(self.now_ms),
            process_id=self.process_id,
            causation_id=causation,
        )
        return self._append(envelope, event.to_json() if data is None else data)

    def timer(self, timer_id: str, due_ms: int) -> Input:
        """What the clock appends for a timer that is due (or is not, or is not set at all)."""
        fired = TimerFired(process_id=self.process_id, timer_id=timer_id, due_ms=due_ms)
        envelope = Envelope(
            id=f"{self.process_id}/timer/{timer_id}/{due_ms}",
            source=ORCHESTRATOR_SOURCE,
            type=fired.type,
            time=format_time(self.now_ms),
            process_id=self.process_id,
        )
        return self._append(envelope, fired.to_json())

    def operator(self, action: OperatorAction) -> Input:
        envelope = Envelope(
            id=f"operator-{self._next}",
            source=ORCHESTRATOR_SOURCE,
            type=action.type,
            time=format_time(self.now_ms),
            process_id=self.process_id,
        )
        return self._append(envelope, action.to_json())

    def observed(self, event: Message, *, id: str, source: str) -> Input:
        """An event that the saga waits for, with the stamp that the router puts on it."""
        return self.start(event, id=id, source=source)

    def signal(self, signal: Signal, *, id: str, sender: str) -> Input:
        """What the command line appends, stamped like an event."""
        payload = signal.model_dump(mode="json", exclude_none=True)
        sent = SignalSent(process_id=self.process_id, signal=signal.signal, payload=payload, sender=sender)
        envelope = Envelope(id=id, source="/counterpoint/operator", type=sent.type)
        return self._append(envelope, sent.to_json(), (self._saga, self._version))

    def control(self, message: ApprovalGiven | CancelRequested | MigrationRequested) -> Input:
        """What else a person decides."""
        envelope = Envelope(id=f"control-{self._next}", source="/counterpoint/operator", type=message.type)
        return self._append(envelope, message.to_json())

    def from_parent(self, message: ToChild, *, id: str) -> Input:
        """What the process that started this one says, or one that would."""
        envelope = Envelope(id=id, source=ORCHESTRATOR_SOURCE, type=message.type, process_id=self.process_id)
        return self._append(envelope, message.to_json(), (self._saga, self._version))

    def from_child(self, ended: ChildEnded, asked: str) -> Input:
        """A child's answer to the message with the id `asked`."""
        envelope = Envelope(
            id=child_answer_id(asked),
            source=ORCHESTRATOR_SOURCE,
            type=ended.type,
            process_id=self.process_id,
            causation_id=asked,
        )
        return self._append(envelope, ended.to_json())

    def published(self, record: OutgoingRecord) -> Input:
        """What another process, such as a limiter or a child, has published straight into this inbox."""
        incoming = IncomingRecord(INBOX, 0, self._next, self.now_ms, record.key, record.value, record.headers)
        self._next += 1
        return read_input(incoming)

    def migration(self, process: Process, to_version: int, **seen: int) -> Input:
        """A person moves the process to a newer version. `seen`: `revision` and `from_version`, if not as it is."""
        known = {"from_version": process.version, "revision": process.revision, **seen}
        asked = {"process_id": process.id, "to_version": to_version, "operator": "ann", **known}
        return self.control(MigrationRequested.model_validate(asked))

    def foreign(self, envelope: Envelope, data: bytes) -> Input:
        """Anything else that the router may have put there."""
        return self._append(envelope, data)

    def again(self, item: Input) -> Input:
        """The same message, delivered once more: a later record with the same bytes."""
        stamp = None if item.saga is None or item.version is None else (item.saga, item.version)
        return self._append(item.envelope, item.data, stamp)

    def _append(self, envelope: Envelope, data: bytes, stamp: tuple[str, int] | None = None) -> Input:
        headers = encode_headers(envelope)
        if stamp is not None:
            headers += ((SAGA_HEADER, stamp[0].encode()), (VERSION_HEADER, str(stamp[1]).encode()))
        record = IncomingRecord(INBOX, 0, self._next, self.now_ms, self.process_id.encode(), data, headers)
        self._next += 1
        return read_input(record)
