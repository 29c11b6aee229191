"""Transitions of `sequence`: one child after the other; undone in reverse, from the last one that was begun.

State `count`: the position of the current child, going forward or backward.
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
    turn.start(turn.child(node, 0))


def child_done(turn: Turn, node: Node, child: Node) -> None:
    state = turn.node_state(node)
    assert state is not None and state.status == "running", "what is being undone says so by `child_undone`"
    following = child.position + 1
    if following < len(node.children):
        turn.set_node(node, "running", following)
        turn.start(turn.child(node, following))
    else:
        turn.set_node(node, "done", child.position)
        turn.done(node)


def undo(turn: Turn, node: Node) -> None:
    state = turn.node_state(node)
    if state is None or not node.children:
        turn.set_node(node, "undone")
        turn.undone(node)
    elif state.status in ("running", "done"):
        turn.set_node(node, "undoing", state.count)
        turn.undo(turn.child(node, state.count))


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    if child.position > 0:
        turn.set_node(node, "undoing", child.position - 1)
        turn.undo(turn.child(node, child.position - 1))
    else:
        turn.set_node(node, "undone")
        turn.undone(node)
