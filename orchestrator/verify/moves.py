"""What may happen next to a process: every answer to what it awaits, silence, timers, and late successes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from contracts.envelope import Envelope
from contracts.ids import ORCHESTRATOR_SOURCE, child_answer_id, command_id, undo_id
from contracts.limits import PermitGranted
from contracts.message import Command, Event, Message
from contracts.process import (
    ApprovalGiven,
    CancelRequested,
    ChildEnded,
    SignalSent,
    StartChild,
    TimerFired,
    UndoChild,
)
from contracts.technical import CommandFailed
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Node, Plan, result_of
from orchestrator.engine.process import PERHAPS, Process, StepState, UndoJob
from orchestrator.language.blocks import CommandStep, Subsaga
from orchestrator.language.waiting import Approval, Signal, WaitFor
from orchestrator.verify.samples import sample

START_MS = 1_767_258_000_000
"""2026-01-01T09:00:00Z, when every exploration begins."""
DEADLINE = "deadline"
"""The timer of a saga's deadline."""


@dataclass(frozen=True, slots=True)
class Move:
    """`deviates`: 0 for what happens when all goes well, else 1."""

    text: str
    deviates: Literal[0, 1]
    item: Input


PARENT, STEP = "verify:parent", "child"
"""Who starts a saga that is explored as a child."""


def start_input(plan: Plan, identity: str, event: Event) -> Input:
    envelope = Envelope(id="start", source="/verify", type=plan.saga.starts_on.type)
    return Input(0, START_MS, identity, envelope, event.to_json(), plan.saga.name, plan.saga.version)


def start_as_child(plan: Plan, identity: str, event: Event) -> Input:
    start = command_id(PARENT, STEP, 1)
    payload = event.model_dump(mode="json", exclude_none=True)
    message = StartChild(process_id=identity, parent=PARENT, step=STEP, start=start, event=payload)
    envelope = Envelope(id=start, source=ORCHESTRATOR_SOURCE, type=message.type)
    return Input(0, START_MS, identity, envelope, message.to_json(), plan.saga.name, plan.saga.version)


def moves(plan: Plan, process: Process) -> Iterator[Move]:
    """What is awaited first goes well without deviating; if nothing is awaited, the next timer fires."""
    inputs = _Inputs(process)
    goes_well = False
    for address, permit in process.permits.items():
        if permit.state == "asked":
            granted = PermitGranted(
                process_id=process.id,
                limiter=permit.limiter,
                request=permit.request,
                not_before_ms=process.updated_at_ms,
            )
            yield Move(f"{address} gets its permit", 0, inputs.message(granted))
            goes_well = True
    for key, step in process.steps.items():
        node = plan.find(key)
        if node is None:
            continue
        if isinstance(node.block, CommandStep):
            yield from _answers(inputs, node, step, first=not goes_well)
            goes_well = goes_well or step.status == "awaiting"
            yield from _late(inputs, node, step)
        elif isinstance(node.block, Subsaga):
            yield from _ends_of_child(inputs, node, step, first=not goes_well)
            goes_well = goes_well or step.status == "awaiting"
        elif step.status == "waiting":
            if isinstance(node.block, WaitFor):
                yield from _arrival(inputs, node, node.block, first=not goes_well)
            elif isinstance(node.block, Approval):
                yield from _decision(inputs, node, node.block, first=not goes_well)
            yield from _limits(inputs, node)
            goes_well = True
    for key, step in process.steps.items():
        job = next((job for job in step.undos if job.status == "awaited"), None)
        node = plan.find(key)
        if job is not None and node is not None:
            yield from _undo_answers(inputs, node, job, first=not goes_well)
            goes_well = True
    due = {timer: at for timer, at in process.timers.items() if timer != DEADLINE and not timer.endswith("/silence")}
    if not goes_well and due:
        timer = min(due, key=lambda one: (due[one], one))
        yield Move(_timer_said(timer), 0, inputs.timer(timer, due[timer]))
    yield from _called_off(inputs)
    yield from _undone_by_parent(inputs)


def _timer_said(timer: str) -> str:
    address, _, kind = timer.rpartition("/")
    return {"retry": f"{address} is tried again", "wake": f"{address} is over"}.get(kind, f"{timer} passes")


def _answers(inputs: _Inputs, node: Node, step: StepState, *, first: bool) -> Iterator[Move]:
    block = node.block
    if step.status != "awaiting":
        return
    assert isinstance(block, CommandStep) and node.makes is not None and issubclass(node.makes, Command)
    assert step.record is not None
    last = step.tries[-1]
    sent, identity = (
        node.makes.model_validate_json(step.record.value),
        command_id(inputs.process.id, node.key, last.number),
    )
    for place, success in enumerate(node.makes.succeeds):
        if first:
            said = "succeeds" if len(node.makes.succeeds) == 1 else f"succeeds with {success.__name__}"
            deviates: Literal[0, 1] = 1 if place else 0
            yield Move(f"{node.key} {said}", deviates, inputs.answer(identity, sample(success, sent)))
    for refusal in node.makes.refuses:
        said = f"{node.key} is refused by {refusal.__name__}"
        yield Move(said, 1, inputs.answer(identity, sample(refusal, sent)))
    for effect, retryable in (("none", False), ("none", True), ("unknown", False)):
        if retryable and last.number > 1:
            continue
        said = f"{node.key} fails with effect {effect}" + (", to be retried" if retryable else "")
        yield Move(said, 1, inputs.failure(identity, node.makes, effect, retryable))
    patience_ms = round(block.patience.total_seconds() * 1000)
    timer = f"{node.key}/silence"
    yield Move(f"{node.key} stays silent", 1, inputs.timer(timer, last.sent_at_ms + patience_ms))


def _late(inputs: _Inputs, node: Node, step: StepState) -> Iterator[Move]:
    """A try that was given up has succeeded after all."""
    assert node.makes is not None and issubclass(node.makes, Command)
    for attempt in step.tries:
        if attempt.state in PERHAPS:
            identity = command_id(inputs.process.id, node.key, attempt.number)
            yield Move(f"{node.key} succeeds late", 1, inputs.answer(identity, sample(node.makes.succeeds[0])))


def _ends_of_child(inputs: _Inputs, node: Node, step: StepState, *, first: bool) -> Iterator[Move]:
    """One that is called off undoes itself, or is past its pivot and completes."""
    if step.status != "awaiting":
        return
    start = command_id(inputs.process.id, node.key, step.tries[-1].number)
    completes: Literal[0, 1] = 1 if step.undoing else 0
    if first or completes:
        said = "completes although it was called off" if step.undoing else "completes"
        yield Move(f"{node.key} {said}", completes, inputs.child_ended(node, step, start, "completed"))
    if step.undoing:
        if first:
            ended = inputs.child_ended(node, step, start, "cancelled", "parent")
            yield Move(f"{node.key} is called off", 0, ended)
        return
    for phase, reason in (("compensated", "refused"), ("cancelled", "deadline"), ("not-started", None)):
        yield Move(f"{node.key} is {phase}", 1, inputs.child_ended(node, step, start, phase, reason))


def _undone_by_parent(inputs: _Inputs) -> Iterator[Move]:
    """A child that has completed, and whose parent fails then."""
    process = inputs.process
    if process.parent is None or process.parent.undo is not None or process.ended != "completed" or process.past_pivot:
        return
    told = {"process_id": process.id, "parent": PARENT, "step": STEP, "start": process.parent.start}
    yield Move("its parent undoes it", 1, inputs.message(UndoChild.model_validate(told)))


def _undo_answers(inputs: _Inputs, node: Node, job: UndoJob, *, first: bool) -> Iterator[Move]:
    assert isinstance(node.block, CommandStep | Subsaga)
    if node.block.undo is None:
        if first:
            asked, step = undo_id(inputs.process.id, node.key, job.numbers[-1]), inputs.process.steps[node.key]
            ended = inputs.child_ended(node, step, asked, "compensated", "parent")
            yield Move(f"{node.key} has undone itself", 0, ended)
        return
    assert node.undo_makes is not None and issubclass(node.undo_makes, Command)
    number = job.numbers[-1]
    identity = undo_id(inputs.process.id, node.key, number)
    if first:
        yield Move(f"{node.key} is undone", 0, inputs.answer(identity, sample(node.undo_makes.succeeds[0])))
    failed = inputs.failure(identity, node.undo_makes, "none", False)
    yield Move(f"the undo of {node.key} fails", 1, failed)
    patience_ms = round(node.block.undo.patience.total_seconds() * 1000)
    silence = inputs.timer(f"{node.key}/undo/{number}/silence", job.sent_at_ms + patience_ms)
    yield Move(f"the undo of {node.key} stays silent", 1, silence)


def _arrival(inputs: _Inputs, node: Node, block: WaitFor, *, first: bool) -> Iterator[Move]:
    if first and issubclass(block.wants, Signal):
        payload = sample(block.wants).model_dump(mode="json")
        signal = SignalSent(process_id=inputs.process.id, signal=block.wants.signal, payload=payload)
        yield Move(f"{node.key} comes", 0, inputs.message(signal))
    elif first and issubclass(block.wants, Event):
        yield Move(f"{node.key} comes", 0, inputs.message(sample(block.wants)))


def _decision(inputs: _Inputs, node: Node, block: Approval, *, first: bool) -> Iterator[Move]:
    form = None if block.form is None else sample(block.form).model_dump(mode="json")
    for decision, said in (("approve", "approved"), ("reject", "rejected")):
        deviates: Literal[0, 1] = 0 if decision == "approve" else 1
        if first or deviates:
            made = {"process_id": inputs.process.id, "step": node.key, "decision": decision, "form": form, "by": "ann"}
            yield Move(f"{node.key} is {said}", deviates, inputs.message(ApprovalGiven.model_validate(made)))


def _limits(inputs: _Inputs, node: Node) -> Iterator[Move]:
    """Nobody comes, or decides, in time."""
    for kind, said in (("limit", "does not come in time"), ("escalation", "is escalated")):
        due = inputs.process.timers.get(f"{node.key}/{kind}")
        if due is not None:
            yield Move(f"{node.key} {said}", 1, inputs.timer(f"{node.key}/{kind}", due))


def _called_off(inputs: _Inputs) -> Iterator[Move]:
    """By its deadline; by a person, if it has none: both undo all that was done."""
    process = inputs.process
    if process.past_pivot or process.ended is not None or process.cause is not None:
        return
    if DEADLINE in process.timers:
        yield Move("the deadline passes", 1, inputs.timer(DEADLINE, process.timers[DEADLINE]))
    else:
        cancel = CancelRequested(process_id=process.id, operator="ann")
        yield Move("a person calls it off", 1, inputs.message(cancel))


class _Inputs:
    """Inputs as the log would have them next."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._at_ms = process.updated_at_ms + 1
        self._offset = process.history_length + 1

    def answer(self, causation: str, event: Message) -> Input:
        envelope = Envelope(
            id=f"answer-{self._offset}-{causation}",
            source="/verify",
            type=event.type,
            process_id=self.process.id,
            causation_id=causation,
        )
        return Input(self._offset, self._at_ms, self.process.id, envelope, event.to_json())

    def failure(self, causation: str, command: type[Command], effect: str, retryable: bool) -> Input:
        failed = CommandFailed.model_validate(
            {
                "command_type": command.type,
                "code": "explored",
                "message": "explored",
                "effect": effect,
                "retryable": retryable,
            }
        )
        return self.answer(causation, failed)

    def child_ended(self, node: Node, step: StepState, asked: str, phase: str, reason: str | None = None) -> Input:
        assert isinstance(node.block, Subsaga)
        returns = result_of(node.block.child) if phase == "completed" else None
        fields: dict[str, object] = {
            "process_id": self.process.id,
            "child": step.child,
            "phase": phase,
            "reason": reason,
        }
        if returns is not None:
            fields |= {"result_type": returns.type, "result": sample(returns).model_dump(mode="json")}
        ended = ChildEnded.model_validate(fields)
        envelope = Envelope(
            id=child_answer_id(asked),
            source=ORCHESTRATOR_SOURCE,
            type=ended.type,
            process_id=self.process.id,
            causation_id=asked,
        )
        return Input(self._offset, self._at_ms, self.process.id, envelope, ended.to_json())

    def message(self, message: Message) -> Input:
        """An event that no command asked for, or a signal."""
        envelope = Envelope(id=f"message-{self._offset}", source="/verify", type=message.type)
        return Input(self._offset, self._at_ms, self.process.id, envelope, message.to_json())

    def timer(self, timer_id: str, due_ms: int) -> Input:
        """When it is due, or now if that has passed."""
        fired = TimerFired(process_id=self.process.id, timer_id=timer_id, due_ms=due_ms)
        envelope = Envelope(id=f"timer-{self._offset}", source=ORCHESTRATOR_SOURCE, type=fired.type)
        at_ms = max(self._at_ms, due_ms)
        return Input(self._offset, at_ms, self.process.id, envelope, fired.to_json())
