"""Transitions of `choice`: the first branch whose predicate holds. State `count`: the branch, -1 for none."""

from __future__ import annotations

from orchestrator.engine.building import BuilderFailed, evaluate
from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn
from orchestrator.language.flow import Choice

NONE = -1


def start(turn: Turn, node: Node) -> None:
    try:
        chosen = _chosen(turn, node)
    except BuilderFailed as error:
        turn.block(node.key, str(error))
        return
    if chosen == NONE:
        turn.set_node(node, "done", NONE)
        turn.note("no branch of the choice holds")
        turn.done(node)
    else:
        turn.set_node(node, "running", chosen)
        turn.start(turn.child(node, chosen))


def _chosen(turn: Turn, node: Node) -> int:
    assert isinstance(node.block, Choice)
    for number, (branch, slots) in enumerate(zip(node.block.branches, node.branch_slots, strict=True)):
        if branch.predicate is None or evaluate(branch.predicate, bool, slots, turn.captured(node)):
            return number
    return NONE


def child_done(turn: Turn, node: Node, child: Node) -> None:
    turn.set_node(node, "done", child.position)
    turn.done(node)


def undo(turn: Turn, node: Node) -> None:
    state = turn.node_state(node)
    turn.unblock(node.key)
    if state is None or state.count == NONE:
        turn.set_node(node, "undone", NONE)
        turn.undone(node)
    else:
        turn.set_node(node, "undoing", state.count)
        turn.undo(turn.child(node, state.count))


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    turn.set_node(node, "undone", child.position)
    turn.undone(node)
