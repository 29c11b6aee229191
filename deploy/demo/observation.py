"""What the topics tell about a run: a fold over records as an outsider reads them. Pure; every message counts once.

After a crash a message may be in the log twice, with the same id: only the first counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from contracts.envelope import Envelope, EnvelopeError, decode_headers
from contracts.inventory import StockChanged
from contracts.orders import OrderCancelled, OrderFulfilled
from contracts.process import Phase, ProcessCancelled, ProcessCompensated, ProcessCompleted
from contracts.record import IncomingRecord
from contracts.technical import CommandFailed
from contracts.topics import LIFECYCLE
from deploy.demo.evidence import Ending

DEAD_LETTERS_SUFFIX = ".dead-letters"
_ENDINGS: dict[str, Ending] = {OrderFulfilled.type: "fulfilled", OrderCancelled.type: "cancelled"}
_ENDED = frozenset((ProcessCompleted.type, ProcessCompensated.type, ProcessCancelled.type))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`origin`: topic, partition and offset of the record that was given up."""

    service: str
    reason: str
    origin: tuple[str, int, int]


@dataclass(slots=True)
class Observation:
    """Mutable: `take` folds one record in."""

    endings: dict[str, list[Ending]] = field(default_factory=dict)
    phases: dict[str, Phase] = field(default_factory=dict)
    started_ms: dict[str, int] = field(default_factory=dict)
    """Append time of the start event, by process."""
    ended_ms: dict[str, int] = field(default_factory=dict)
    """Append time of the event that says so, by process."""
    answered_ms: dict[str, int] = field(default_factory=dict)
    """Append time of the first answer, by id of the command or undo: the durable steps."""
    failure_codes: dict[str, str] = field(default_factory=dict)
    """By command id."""
    shelves: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)
    """(sku, warehouse) -> highest revision, on hand, reserved."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    records: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def take(self, record: IncomingRecord) -> None:
        self.records += 1
        if record.topic.endswith(DEAD_LETTERS_SUFFIX):
            self.dead_letters.append(_dead_letter(record))
            return
        read = _read(record)
        if read is None:
            return
        envelope, data = read
        if envelope.type == StockChanged.type:
            self._shelf(data)
        if envelope.identity in self._seen:
            return
        self._seen.add(envelope.identity)
        if record.topic == LIFECYCLE:
            self._lifecycle(envelope.type, data, record.timestamp_ms)
        elif envelope.type in _ENDINGS:
            self.endings.setdefault(data["order_id"], []).append(_ENDINGS[envelope.type])
        elif envelope.causation_id and envelope.process_id:
            self.answered_ms.setdefault(envelope.causation_id, record.timestamp_ms)
            if envelope.type == CommandFailed.type:
                self.failure_codes.setdefault(envelope.causation_id, data["code"])

    def starts(self, process: str, at_ms: int) -> None:
        """The publisher's acknowledgement of a start event."""
        self.started_ms.setdefault(process, at_ms)

    def _lifecycle(self, kind: str, data: dict[str, Any], at_ms: int) -> None:
        process = data.get("process_id")
        if process is None:
            return
        self.phases[process] = cast(Phase, data["phase"])
        if kind in _ENDED:
            self.ended_ms.setdefault(process, at_ms)

    def _shelf(self, data: dict[str, Any]) -> None:
        place = data["sku"], data["warehouse"]
        if data["revision"] >= self.shelves.get(place, (-1, 0, 0))[0]:
            self.shelves[place] = data["revision"], data["on_hand"], data["reserved"]


def _read(record: IncomingRecord) -> tuple[Envelope, dict[str, Any]] | None:
    """None: bad input, somebody else's business."""
    try:
        data = orjson.loads(record.value or b"")
        envelope = decode_headers(record.headers)
    except (ValueError, EnvelopeError):
        return None
    return (envelope, data) if isinstance(data, dict) else None


def _dead_letter(record: IncomingRecord) -> DeadLetter:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    origin = headers.get("dl_topic", ""), int(headers.get("dl_partition", -1)), int(headers.get("dl_offset", -1))
    service = headers.get("dl_service", record.topic.removesuffix(DEAD_LETTERS_SUFFIX))
    return DeadLetter(service, headers.get("dl_reason", "?"), origin)
