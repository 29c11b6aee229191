"""Transitions of `subsaga`: a process of another saga, on its own shard, and the answers that it gives when it ends.

A step has one try: its child's key names one process, which is started once. What the child's end means (`TryState`):
    succeeded   it has completed; it is undone by being asked to undo itself, or by the command of `undo=`
    refused     it ended otherwise and has undone itself: nothing is left, the step has failed
    none        it was not started, since there is such a process already: nothing was done, the step has failed
There is no silence: the log loses no message, the child has limits of its own, and is stuck, loudly, where they end.
If the step is to be undone meanwhile, the child is called off, and the step waits for its end all the same: one that is
past its pivot completes, and is undone then. What a child does about it is in `orchestrator/engine/children.py`.
"""

from __future__ import annotations

import json

from contracts.ids import child_notice_id, command_id, is_business_key, process_id
from contracts.message import Event
from contracts.process import CancelChild, ChildEnded, StartChild
from orchestrator.engine.blocks import undo as undoing
from orchestrator.engine.building import BuilderFailed, evaluate
from orchestrator.engine.children import tell_child
from orchestrator.engine.decision import Reason
from orchestrator.engine.effects import EffectTooLarge, inbox_effect
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Outcome, StoredRecord, Try, TryState
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import Subsaga
from orchestrator.language.injection import EndingReason

ONLY_TRY = 1
SAME_REASONS: dict[str | None, EndingReason] = {"refused": "refused", "failed": "failed", "silent": "silent"}
"""Reasons of the child that are the step's own as well; whatever else ended it, for its parent it has failed."""


def start(turn: Turn, node: Node) -> None:
    block = _block(node)
    try:
        event = evaluate(block.builder, block.child.starts_on, node.slots, turn.captured(node))
        _start_child(turn, node, _child_of(block, event), event)
    except (BuilderFailed, EffectTooLarge) as error:
        turn.change(node, status="blocked", detail=str(error))
        turn.block(node.key, str(error))


def _child_of(block: Subsaga, event: Event) -> str:
    """The id of the process that the event starts. Raises BuilderFailed."""
    try:
        key = block.child.key(event)
    except Exception as error:
        raise BuilderFailed(f"the key of saga {block.child.name} raised {type(error).__name__}: {error}") from error
    if not is_business_key(key):
        raise BuilderFailed(f"the key of saga {block.child.name} is {key!r}, not an id")
    return process_id(block.child.name, key)


def _start_child(turn: Turn, node: Node, child: str, event: Event) -> None:
    """Raises BuilderFailed, EffectTooLarge."""
    saga, identity = _block(node).child, command_id(turn.before.id, turn.path(node), ONLY_TRY)
    try:
        payload = json.loads(event.to_json())
        message = StartChild(process_id=child, parent=turn.before.id, step=node.key, start=identity, event=payload)
        message.to_json()
    except Exception as error:
        raise BuilderFailed(f"what {node.name} starts cannot be sent: {type(error).__name__}: {error}") from error
    effect = inbox_effect(
        message,
        child,
        id=identity,
        now_ms=turn.now_ms,
        traceparent=turn.before.start.traceparent,
        causation=turn.item.envelope.id,
        named=True,
        stamp=(saga.name, saga.version),
    )
    turn.send(effect)
    tries = (Try(number=ONLY_TRY, state="awaited", sent_at_ms=turn.now_ms),)
    record = StoredRecord.of(effect.record)
    turn.change(node, status="awaiting", tries=tries, record=record, child=child, detail=None)


def on_ended(turn: Turn, node: Node, number: int, ended: ChildEnded) -> Reason | None:
    """The child has answered its start. A reason: that is known already."""
    state = turn.step(node).tries[number - 1].state
    completed = ended.phase == "completed"
    if state == "succeeded":
        return "duplicate" if completed else "contradicted"
    if state != "awaited" and not completed:
        return "duplicate"
    if completed:
        _completed(turn, node, number, ended)
    else:
        _failed(turn, node, number, ended)
    return None


def _completed(turn: Turn, node: Node, number: int, ended: ChildEnded) -> None:
    outcome = None
    if ended.result_type is not None:
        data = json.dumps(ended.result, ensure_ascii=False, separators=(",", ":")).encode()
        outcome = Outcome(type=ended.result_type, data=data, try_number=number)
    before = turn.step(node)
    _mark(turn, node, number, "succeeded")
    if before.undoing and before.status == "awaiting":
        turn.change(node, status="succeeded", outcome=outcome, record=None)
        turn.measure_step(node, "succeeded")
        undoing.begin(turn, node)
    elif before.undoing or before.status == "skipped":
        turn.note(f"{node.key}: {ended.child} has completed after the step was given up: it is undone")
        undoing.late_success(turn, node, outcome or Outcome(type="", data=b"", try_number=number))
    else:
        turn.unblock(node.key)
        turn.change(node, status="succeeded", outcome=outcome, record=None, detail=None)
        turn.measure_step(node, "succeeded")
        turn.done(node)


def _failed(turn: Turn, node: Node, number: int, ended: ChildEnded) -> None:
    state: TryState = "none" if ended.phase == "not-started" else "refused"
    undoing_already = turn.step(node).undoing
    why = told(ended)
    _mark(turn, node, number, state)
    turn.change(node, status="failed", detail=why, record=None)
    turn.measure_step(node, state)
    turn.note(f"{node.key}: {why}")
    if undoing_already:
        undoing.begin(turn, node)
    else:
        turn.fail(node, SAME_REASONS.get(ended.reason, "failed"), why)


def told(ended: ChildEnded) -> str:
    """How the child ended, for people."""
    if ended.phase == "not-started":
        return f"{ended.child} was not started: {ended.detail}"[:500]
    where = f" at {ended.step}" if ended.step else ""
    return f"{ended.child} is {ended.phase}{where}: {ended.reason}{f' ({ended.detail})' if ended.detail else ''}"[:500]


def _mark(turn: Turn, node: Node, number: int, state: TryState) -> None:
    tries = list(turn.step(node).tries)
    tries[number - 1] = Try(number=number, state=state, sent_at_ms=tries[number - 1].sent_at_ms)
    turn.change(node, tries=tuple(tries))


def undo(turn: Turn, node: Node) -> None:
    """Undo the step once its child has ended; one that still runs is called off."""
    state = turn.change(node, undoing=True)
    turn.unblock(node.key)
    if state.status == "awaiting":
        tell_child(turn, node, CancelChild, id=child_notice_id(turn.before.id, turn.path(node), "cancel"))
        return
    if state.status == "blocked":
        turn.change(node, status="idle")
    undoing.begin(turn, node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a subsaga has no blocks inside")


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a subsaga has no blocks inside")


def _block(node: Node) -> Subsaga:
    assert isinstance(node.block, Subsaga)
    return node.block
