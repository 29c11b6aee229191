"""The line between a process and its children: what a parent tells a child, and all that a child does about it.

A child knows its parent (`Process.parent`) and answers twice at most: its start, when it has ended, and its undo, when
that has ended too. The ids of its answers are made from the ids that they answer. A process that belongs to nobody, or
to another step, is never taken over: the start is answered with `not-started`. A cancellation or an undo without a
process leaves a mark, an ended process that has done nothing, so that a later start begins nothing.
"""

from __future__ import annotations

import json
from typing import Literal

from msgspec.structs import replace
from pydantic import ValidationError

from contracts.ids import child_answer_id, child_notice_id, command_id
from contracts.message import Event
from contracts.process import CancelChild, ChildEnded, ReleaseChild, StartChild, ToChild, UndoChild
from orchestrator.engine.arrivals import digest, remember
from orchestrator.engine.building import BuilderFailed, PayloadInvalid, evaluate, parse_payload
from orchestrator.engine.decision import Decision, Reason
from orchestrator.engine.effects import Effect, EffectTooLarge, inbox_effect
from orchestrator.engine.expiry import kept_on
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Node, Plan
from orchestrator.engine.process import Cause, Outcome, Parentage, Process, TryState
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import Returns, Subsaga

TO_CHILD: dict[str, type[ToChild]] = {kind.type: kind for kind in (StartChild, CancelChild, UndoChild, ReleaseChild)}
Answered = Literal["completed", "compensated", "cancelled", "not-started"]
RELEASED: tuple[TryState, ...] = ("succeeded", "refused")
"""What the one try of a step says if its child was started by it."""

# What a parent tells.


def tell_child(turn: Turn, node: Node, kind: type[ToChild], *, id: str, undoes: tuple[str, ...] = ()) -> Effect:
    """Sends the message to the process that the step has started, and returns what was sent."""
    assert isinstance(node.block, Subsaga)
    child, started = turn.step(node).child, command_id(turn.before.id, turn.path(node), 1)
    assert child is not None, "nothing is told to a child before it is started"
    effect = inbox_effect(
        kind(process_id=child, parent=turn.before.id, step=node.key, start=started),
        child,
        id=id,
        now_ms=turn.now_ms,
        traceparent=turn.before.start.traceparent,
        causation=turn.item.envelope.id,
        named=True,
        stamp=(node.block.child.name, node.block.child.version),
        undoes=undoes,
    )
    turn.send(effect)
    return effect


def release(turn: Turn) -> None:
    """The process is over: its children are not kept for it any more. One that another one started is not touched."""
    for key, step in turn.steps.items():
        if step.child is not None and step.tries[-1].state in RELEASED:
            node = turn.plan.find(key)
            assert node is not None, "a step has a place in the saga"
            tell_child(turn, node, ReleaseChild, id=child_notice_id(turn.before.id, turn.path(node), "release"))


# What a child is told.


def read_told(item: Input) -> ToChild | None:
    """None: it cannot be read."""
    try:
        return TO_CHILD[item.envelope.type].model_validate_json(item.data)
    except ValidationError:
        return None


def start_payload(plan: Plan, message: StartChild) -> bytes | None:
    """The start event as the child keeps it; None if it does not fit its contract."""
    try:
        return parse_payload(plan.saga.starts_on, json.dumps(message.event).encode()).to_json()
    except PayloadInvalid:
        return None


def born(message: ToChild) -> Parentage:
    return Parentage(process=message.parent, step=message.step, start=message.start)


def leave_mark(turn: Turn, message: ToChild) -> None:
    """There is no process, and there will be none: nothing is begun, and nothing is left. Nobody lets the mark go
    later, since for its parent nothing was started."""
    what = (
        "its start event does not fit its contract" if isinstance(message, StartChild) else "it was called off before"
    )
    undo = turn.item.envelope.id if isinstance(message, UndoChild) else None
    turn.parentage = replace(born(message), undo=undo, released=True)
    turn.ended = "cancelled"
    turn.note(f"{turn.before.id} is not started for {message.start}: {what}")
    turn.send(_answer(turn, turn.parentage, "not-started", detail=what))


def told(turn: Turn) -> Reason | None:
    """Apply the turn's input, a parent's message to this process. A reason: it is ignored."""
    message = read_told(turn.item)
    if message is None:
        return "invalid-payload"
    parent = turn.parentage
    if parent is None or (parent.process, parent.start) != (message.parent, message.start):
        return _told_by_stranger(turn, message)
    match message:
        case StartChild():
            return "duplicate-start"
        case CancelChild():
            reason = turn.call_off("parent")
            if reason is None:
                turn.notes.insert(0, f"{parent.process} calls it off")
            return reason
        case UndoChild():
            return _undo(turn, parent)
        case _:
            if parent.released:
                return "duplicate"
            turn.parentage = replace(parent, released=True)
            turn.note(f"{parent.process} has ended")
            return None


def _told_by_stranger(turn: Turn, message: ToChild) -> Reason | None:
    """This process is not the child of who says so; whoever waits for an answer hears that."""
    if not isinstance(message, StartChild | UndoChild):
        return "not-awaited"
    if digest(turn.item.envelope) in turn.seen:
        return "duplicate"
    turn.seen = remember(turn.seen, turn.item)
    start = turn.before.start
    detail = f"there is such a process already, {turn.before.phase}, started by {start.id} of {start.source}"
    turn.note(f"it is not started for {message.start}: it was started by {start.id} of {start.source}")
    undo = turn.item.envelope.id if isinstance(message, UndoChild) else None
    turn.send(_answer(turn, replace(born(message), undo=undo), "not-started", detail=detail[:500]))
    return None


def _undo(turn: Turn, parent: Parentage) -> Reason | None:
    asked = turn.item.envelope.id
    if parent.undo == asked:
        return "duplicate"
    turn.parentage = parent = replace(parent, undo=asked)
    if turn.past_pivot:
        turn.note(f"{parent.process} wants it undone, but it is past its point of no return")
        turn.send(_answer(turn, parent, "completed", detail="it is past its point of no return"))
    elif turn.ended in ("compensated", "cancelled"):
        turn.note(f"{parent.process} wants it undone: nothing of it is left")
        turn.send(_answer(turn, parent, turn.ended))
    else:
        turn.ended = None
        turn.note(f"{parent.process} wants it undone")
        turn.compensate(Cause(reason="parent"))
    return None


# What a child answers.


def complete(turn: Turn) -> bool:
    """The body is done: what the process returns is sent home. False: a person must decide about that first."""
    node = turn.plan.returns
    if turn.parentage is None:
        return True
    try:
        result = None if node is None else _result(turn, node)
        turn.send(_answer(turn, turn.parentage, "completed", result=result))
    except (BuilderFailed, EffectTooLarge) as error:
        assert node is not None, "only what is returned can be wrong or large"
        turn.change(node, status="blocked", detail=str(error))
        turn.block(node.key, str(error))
        return False
    if node is not None and node.key in turn.steps:
        turn.change(node, status="emitted", detail=None)
    return True


def _result(turn: Turn, node: Node) -> Outcome:
    """What a person gave, else what the builder makes. Raises BuilderFailed."""
    given = turn.step(node).outcome
    if given is not None:
        return given
    assert isinstance(node.block, Returns) and node.makes is not None
    made = evaluate(node.block.builder, node.makes, node.slots, turn.captured(node))
    assert isinstance(made, Event)
    try:
        return Outcome(type=made.type, data=made.to_json(), try_number=0)
    except Exception as error:
        raise BuilderFailed(f"what {node.block.builder.__name__} made cannot be sent: {error}") from error


def report(turn: Turn, phase: Literal["compensated", "cancelled"]) -> None:
    """It has ended with nothing left to undo."""
    if turn.parentage is not None:
        cause = turn.cause
        assert cause is not None, "only a cause makes it end so"
        turn.send(_answer(turn, turn.parentage, phase, cause=cause))


def told_when_expired(before: Process, item: Input) -> Decision:
    """A process that there was, and of which nothing is known any more: it is never started again, and whoever waits
    for an answer hears that."""
    message, now_ms = read_told(item), max(item.at_ms, before.updated_at_ms)
    if not isinstance(message, StartChild | UndoChild):
        return Decision(before, "ignored", "invalid-payload" if message is None else "expired")
    answer = _ended(
        before.id,
        replace(born(message), undo=item.envelope.id if isinstance(message, UndoChild) else None),
        "not-started",
        detail="there was such a process already, and it has expired",
        now_ms=now_ms,
        traceparent=item.envelope.traceparent,
    )
    return Decision(kept_on(before, now_ms), "ignored", "already-ended", effects=(answer.record,))


def _answer(
    turn: Turn,
    parent: Parentage,
    phase: Answered,
    *,
    cause: Cause | None = None,
    detail: str | None = None,
    result: Outcome | None = None,
) -> Effect:
    """Raises EffectTooLarge."""
    return _ended(
        turn.before.id,
        parent,
        phase,
        cause=cause,
        detail=detail,
        result=result,
        now_ms=turn.now_ms,
        traceparent=turn.before.start.traceparent,
    )


def _ended(
    child: str,
    parent: Parentage,
    phase: Answered,
    *,
    now_ms: int,
    traceparent: str | None,
    cause: Cause | None = None,
    detail: str | None = None,
    result: Outcome | None = None,
) -> Effect:
    """Raises EffectTooLarge."""
    asked = parent.undo or parent.start
    ended = ChildEnded(
        process_id=parent.process,
        child=child,
        phase=phase,
        step=cause.step if cause else None,
        reason=cause.reason if cause else None,
        detail=detail or (cause.detail if cause else None) or None,
        result_type=None if result is None else result.type,
        result=None if result is None else json.loads(result.data),
    )
    return inbox_effect(
        ended,
        parent.process,
        id=child_answer_id(asked),
        now_ms=now_ms,
        traceparent=traceparent,
        causation=asked,
        named=True,
    )
