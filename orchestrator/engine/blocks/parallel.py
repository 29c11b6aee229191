"""Transitions of `parallel`: all children at once; undone side by side.

State `count`: how many children have finished, going forward or backward.
"""

from __future__ import annotations

from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn


def start(turn: Turn, node: Node) -> None:
    if not node.children:
        turn.set_node(node, "done")
        turn.done(node)
        return
    turn.set_node(node, "running", 0)
    for position in range(len(node.children)):
        turn.start(turn.child(node, position))


def child_done(turn: Turn, node: Node, child: Node) -> None:
    state = turn.node_state(node)
    assert state is not None and state.status == "running", "what is being undone says so by `child_undone`"
    finished = state.count + 1
    if finished < len(node.children):
        turn.set_node(node, "running", finished)
    else:
        turn.set_node(node, "done")
        turn.done(node)


def undo(turn: Turn, node: Node) -> None:
    state = turn.node_state(node)
    if state is None or not node.children:
        turn.set_node(node, "undone")
        turn.undone(node)
    elif state.status in ("running", "done"):
        turn.set_node(node, "undoing", 0)
        for position in range(len(node.children)):
            turn.undo(turn.child(node, position))


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    state = turn.node_state(node)
    finished = (state.count if state else 0) + 1
    if finished < len(node.children):
        turn.set_node(node, "undoing", finished)
    else:
        turn.set_node(node, "undone")
        turn.undone(node)
