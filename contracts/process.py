"""The orchestrator's own messages: process lifecycle (public, `orchestrator.events`), and the control inputs that
only the orchestrator's clock, api and CLI append to `orchestrator.inbox`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from contracts.message import Event, Text, UtcTime

Phase = Literal["running", "compensating", "stuck", "completed", "compensated", "cancelled"]

NOTE_LENGTH_MAX = 2_000
"""Characters of what a person says to explain a decision."""


class ProcessLifecycle(Event):
    """`step` and `reason` say where and why, from `compensating` on."""

    process_id: Text
    saga: Text
    version: int = Field(ge=1, strict=True)
    phase: Phase
    step: Text | None = None
    reason: Text | None = None
    at: UtcTime


class ProcessStarted(ProcessLifecycle, type="orchestrator.process-started.v1"):
    pass


class ProcessCompensating(ProcessLifecycle, type="orchestrator.process-compensating.v1"):
    pass


class ProcessStuck(ProcessLifecycle, type="orchestrator.process-stuck.v1"):
    pass


class ProcessResumed(ProcessLifecycle, type="orchestrator.process-resumed.v1"):
    pass


class ProcessCompleted(ProcessLifecycle, type="orchestrator.process-completed.v1"):
    pass


class ProcessCompensated(ProcessLifecycle, type="orchestrator.process-compensated.v1"):
    pass


class ProcessCancelled(ProcessLifecycle, type="orchestrator.process-cancelled.v1"):
    pass


class ClockProbe(Event, type="orchestrator.clock-probe.v1"):
    """Appended by the clock to learn the broker's time from the ack."""

    instance: Text


class TimerFired(Event, type="orchestrator.timer-fired.v1"):
    """A timer that was due. Matched by id: one that is not set any more is ignored."""

    process_id: Text
    timer_id: Text
    due_ms: int = Field(ge=0, strict=True)


class SignalSent(Event, type="orchestrator.signal.v1"):
    """A signal to one process. `signal` is the name of its class; `payload` is what that class says."""

    process_id: Text
    signal: Text
    payload: dict[str, Any] = Field(default_factory=dict)
    sender: Text | None = None


class ApprovalGiven(Event, type="orchestrator.approval.v1"):
    """What a person decided at an approval. `step` is its path in the saga, `form` what the person filled in.

    `roles`: those that the sender vouches for; without them, whoever may write to the inbox may decide.
    """

    process_id: Text
    step: Text
    decision: Literal["approve", "reject"]
    form: dict[str, Any] | None = None
    by: Text
    roles: tuple[Text, ...] | None = None


class ApprovalEscalated(Event, type="orchestrator.approval-escalated.v1"):
    """Nobody with `role` has decided in time: `escalated_to` may decide as well. On `orchestrator.events`."""

    process_id: Text
    saga: Text
    version: int = Field(ge=1, strict=True)
    step: Text
    role: Text
    escalated_to: Text
    at: UtcTime


class CancelRequested(Event, type="orchestrator.cancel.v1"):
    """A person calls a process off. Names no revision: it means the same whatever the process has done by then, up to
    its point of no return."""

    process_id: Text
    operator: Text
    note: str | None = Field(default=None, max_length=NOTE_LENGTH_MAX)


class MigrationRequested(Event, type="orchestrator.migrate.v1"):
    """A person moves a process to a newer version of its saga, which has declared the migration. `from_version` and
    `revision` are what that person saw: if the process has moved on, the request is ignored as stale."""

    process_id: Text
    from_version: int = Field(ge=1, strict=True)
    to_version: int = Field(ge=1, strict=True)
    revision: int = Field(ge=0, strict=True)
    operator: Text
    note: str | None = Field(default=None, max_length=NOTE_LENGTH_MAX)


class OperatorAction(Event, type="orchestrator.operator-action.v1"):
    """What a person decided about a stuck process. `step`, `try_number` and `revision` are what that person saw:
    if the process has moved on, the action is ignored as stale.

    `outcome` (with `outcome_type`) stands in for the outcome of a skipped step that a later builder needs.
    `correction` is the whole payload with which a command is tried again.
    """

    process_id: Text
    action: Literal["retry", "skip", "compensate"]
    step: Text | None = None
    try_number: int | None = Field(default=None, ge=0, strict=True)
    revision: int = Field(ge=0, strict=True)
    operator: Text
    note: str | None = Field(default=None, max_length=NOTE_LENGTH_MAX)
    outcome_type: Text | None = None
    outcome: dict[str, Any] | None = None
    correction: dict[str, Any] | None = None


class ToChild(Event):
    """What a process tells the process that one of its steps started. `process_id` is the child's, `parent` and `step`
    name that step, and `start` is the id of the message that started the child."""

    process_id: Text
    parent: Text
    step: Text
    start: Text


class StartChild(ToChild, type="orchestrator.start-child.v1"):
    """`event` is the payload of the child saga's start event."""

    event: dict[str, Any]


class CancelChild(ToChild, type="orchestrator.cancel-child.v1"):
    """The parent does not want it any more. Past its point of no return the child goes on, and is undone afterwards."""


class UndoChild(ToChild, type="orchestrator.undo-child.v1"):
    """What a completed child did is to be undone."""


class ReleaseChild(ToChild, type="orchestrator.release-child.v1"):
    """The parent has ended for good: it will not ask for anything any more."""


class ChildEnded(Event, type="orchestrator.child-ended.v1"):
    """A child's answer to its start or to its undo, whose id is the causation id. `process_id` is the parent's.

    `not-started`: nothing was begun for that start, and nothing is left of it. `completed` as the answer to an undo:
    it cannot be undone. `step` and `reason` are the child's own.
    """

    process_id: Text
    child: Text
    phase: Literal["completed", "compensated", "cancelled", "not-started"]
    step: Text | None = None
    reason: Text | None = None
    detail: Text | None = None
    result_type: Text | None = None
    result: dict[str, Any] | None = None
