"""Reading the records that a decision publishes back into messages, as a participant would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.envelope import Envelope, decode_headers
from contracts.limits import PermitReleased, PermitRequested
from contracts.message import Message
from contracts.process import (
    ApprovalEscalated,
    CancelChild,
    ChildEnded,
    ProcessCancelled,
    ProcessCompensated,
    ProcessCompensating,
    ProcessCompleted,
    ProcessLifecycle,
    ProcessResumed,
    ProcessStarted,
    ProcessStuck,
    ReleaseChild,
    StartChild,
    ToChild,
    UndoChild,
)
from contracts.record import OutgoingRecord
from contracts.topics import ORCHESTRATOR_DEAD_LETTERS
from orchestrator.engine.permits import address_of
from orchestrator.engine.plan import Plan

SentKind = Literal["command", "undo", "emit", "lifecycle", "dead-letter", "cancel-child", "release", "ended", "permit"]
"""A child's start is a `command`, a child that is asked to undo itself an `undo`; `ended` is a child's own answer."""
TO_CHILD: dict[str, tuple[SentKind, type[ToChild]]] = {
    StartChild.type: ("command", StartChild),
    UndoChild.type: ("undo", UndoChild),
    CancelChild.type: ("cancel-child", CancelChild),
    ReleaseChild.type: ("release", ReleaseChild),
}
LIFECYCLE: dict[str, type[ProcessLifecycle]] = {
    event.type: event
    for event in (
        ProcessStarted,
        ProcessCompensating,
        ProcessStuck,
        ProcessResumed,
        ProcessCompleted,
        ProcessCompensated,
        ProcessCancelled,
    )
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One published record. `step`: the step or emit that it belongs to; of a lifecycle event and of a child's answer,
    what it announces; of a request for a permit or its release, the address.

    `number` counts tries of a command and attempts of an undo; it is 0 otherwise. `again`: the same bytes as before.
    """

    kind: SentKind
    step: str
    number: int
    envelope: Envelope
    model: type[Message]
    record: OutgoingRecord
    again: bool

    @property
    def id(self) -> str:
        return self.envelope.id

    @property
    def message(self) -> Message:
        """The payload, read by its contract."""
        return self.model.model_validate_json(self.record.value)

    def __str__(self) -> str:
        number = f", number {self.number}" if self.number else ""
        return f"{self.kind} {self.step}{number}{' (again)' if self.again else ''}"


def read_sent(
    plan: Plan, process_id: str, record: OutgoingRecord, *, again: bool, renamed: Mapping[str, str] | None = None
) -> Sent:
    """`renamed`: the paths of steps that a migration has renamed, by the path that their ids keep."""
    envelope = decode_headers(record.headers)
    lifecycle = LIFECYCLE.get(envelope.type)
    if lifecycle is not None:
        announced = envelope.type.removeprefix("orchestrator.process-").partition(".")[0]
        return Sent("lifecycle", announced, 0, envelope, lifecycle, record, again)
    if envelope.type == ApprovalEscalated.type:
        return Sent("lifecycle", "approval-escalated", 0, envelope, ApprovalEscalated, record, again)
    if record.topic == ORCHESTRATOR_DEAD_LETTERS:
        return Sent("dead-letter", "", 0, envelope, Message, record, again)
    if envelope.type == ChildEnded.type:
        phase = ChildEnded.model_validate_json(record.value).phase
        return Sent("ended", phase, 0, envelope, ChildEnded, record, again)
    if envelope.type in (PermitRequested.type, PermitReleased.type):
        permit = PermitRequested if envelope.type == PermitRequested.type else PermitReleased
        return Sent("permit", address_of(envelope.id), 0, envelope, permit, record, again)
    path = envelope.id.removeprefix(f"{process_id}/")
    name, *rest = path.split("/")
    name = (renamed or {}).get(name, name)
    node = plan.find(name)
    assert node is not None, f"{envelope.id} is of no step"
    if envelope.type in TO_CHILD:
        told, to_child = TO_CHILD[envelope.type]
        return Sent(told, name, int(rest[-1]) if rest[-1].isdigit() else 0, envelope, to_child, record, again)
    kind: SentKind = "emit" if not rest else "undo" if rest[0] == "undo" else "command"
    model = node.undo_makes if kind == "undo" else node.makes
    assert model is not None and model.type == envelope.type, f"{envelope.id} is not a {envelope.type}"
    return Sent(kind, name, int(rest[-1]) if rest else 0, envelope, model, record, again)
