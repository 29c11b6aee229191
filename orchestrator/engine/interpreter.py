"""Runs the moves that blocks queue until a turn is at rest, then sees whether the process has come to its end."""

from __future__ import annotations

from typing import Literal, Protocol

from contracts.process import Phase
from orchestrator.engine import children
from orchestrator.engine.blocks import (
    approval,
    choice,
    command,
    emit,
    fallback,
    for_each,
    on_stuck,
    parallel,
    pivot,
    repeat,
    sequence,
    sleep,
    subsaga,
    wait,
)
from orchestrator.engine.blocks.undo import has_open_job
from orchestrator.engine.decision import Measure
from orchestrator.engine.permits import release_all
from orchestrator.engine.plan import PLACES_MAX, Node
from orchestrator.engine.process import NodeState, NodeStatus
from orchestrator.engine.turn import DEADLINE_TIMER, Move, Turn
from orchestrator.language.blocks import Block, CommandStep, Emit, OnStuck, Parallel, Pivot, Sequence, Subsaga
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.waiting import Approval, WaitFor

MOVES_MAX = 10 * PLACES_MAX
"""Moves of one turn: each place starts, is done, fails, is undone. More would be a block that calls itself."""
BODY, CANCELLED = "body", "cancelled"
"""Keys in `Process.nodes` that say how the two root blocks have ended."""


class Transitions(Protocol):
    """What a block's module offers (see orchestrator.engine.blocks)."""

    def start(self, turn: Turn, node: Node) -> None: ...
    def child_done(self, turn: Turn, node: Node, child: Node) -> None: ...
    def undo(self, turn: Turn, node: Node) -> None: ...
    def child_undone(self, turn: Turn, node: Node, child: Node) -> None: ...


TRANSITIONS: dict[type[Block], Transitions] = {
    Sequence: sequence,
    Parallel: parallel,
    Choice: choice,
    ForEach: for_each,
    Repeat: repeat,
    Fallback: fallback,
    Sleep: sleep,
    WaitFor: wait,
    Approval: approval,
    OnStuck: on_stuck,
    CommandStep: command,
    Subsaga: subsaga,
    Pivot: pivot,
    Emit: emit,
}


def run(turn: Turn) -> None:
    """Until nothing is queued and the process cannot come closer to its end by itself."""
    moves = 0
    while True:
        while turn.queue:
            moves += 1
            assert moves <= MOVES_MAX, "a turn does not come to rest"
            _move(turn, *turn.queue.popleft())
        if not _approach_end(turn):
            break
    if turn.over and not turn.before.over:
        children.release(turn)


def _move(turn: Turn, move: Move, node: Node) -> None:
    transitions = TRANSITIONS[type(node.block)]
    parent = turn.parent(node)
    if move == "start":
        if turn.alive(node) and (turn.cause is None or not turn.plan.in_body(node)):
            transitions.start(turn, node)
    elif move == "undo":
        transitions.undo(turn, node)
    elif move == "failed":
        assert parent is not None, "only an alternative is given up"
        fallback.child_failed(turn, parent, node)
    elif parent is None:
        _root_finished(turn, node, "done" if move == "done" else "undone")
    elif move == "done":
        if turn.alive(node):
            TRANSITIONS[type(parent.block)].child_done(turn, parent, node)
    else:
        TRANSITIONS[type(parent.block)].child_undone(turn, parent, node)


def _root_finished(turn: Turn, node: Node, status: NodeStatus) -> None:
    in_body = turn.plan.in_body(node)
    turn.nodes[BODY if in_body else CANCELLED] = NodeState(status=status)
    if in_body:
        turn.clear_timer(DEADLINE_TIMER)  # all is done in time; a debt that is still open cannot make it fail


def _approach_end(turn: Turn) -> bool:
    """Start the last block, or end the process, once nothing is stuck or owed. True: there is more to run."""
    body = turn.nodes.get(BODY)
    if turn.ended is not None or body is None or turn.stuck or _owes(turn):
        return False
    if body.status == "done":
        if children.complete(turn):
            _end(turn, "completed")
        return False
    if turn.plan.cancelled_root is not None and CANCELLED not in turn.nodes:
        turn.nodes[CANCELLED] = NodeState(status="running")
        turn.start(turn.plan.nodes[turn.plan.cancelled_root])
        return True
    if turn.plan.cancelled_root is None or turn.nodes[CANCELLED].status == "done":
        phase: Literal["compensated", "cancelled"] = "cancelled" if _by_decree(turn) else "compensated"
        _end(turn, phase)
        children.report(turn, phase)
    return False


def _by_decree(turn: Turn) -> bool:
    """It was called off; not one that had completed, and was undone because its parent was."""
    if turn.cause is None or (turn.parentage is not None and turn.parentage.undo is not None):
        return False
    return turn.cause.reason in ("deadline", "operator", "parent")


def _owes(turn: Turn) -> bool:
    """No process ends with an undo still open, nor while an abandoned alternative is being undone."""
    return any(has_open_job(step) or (step.undoing and not step.undone) for step in turn.steps.values())


def _end(turn: Turn, phase: Phase) -> None:
    turn.ended = phase
    if turn.permits:
        release_all(turn)
    took = turn.now_ms - turn.before.started_at_ms
    turn.measures.append(Measure("process", turn.plan.saga.name, turn.plan.saga.name, phase, took))
