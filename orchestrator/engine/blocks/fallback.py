"""Transitions of `fallback`: when one alternative fails, the next starts at once, and the failed one is undone beside.

State `count`: the current alternative; `undone`: those of which nothing is left. What an abandoned alternative still
does is undone by its steps themselves; the process does not end before that (see `interpreter`).
"""

from __future__ import annotations

from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn


def start(turn: Turn, node: Node) -> None:
    turn.set_node(node, "running", 0)
    turn.start(turn.child(node, 0))


def child_failed(turn: Turn, node: Node, child: Node) -> None:
    """The current alternative is given up."""
    turn.undo(child)
    turn.change_node(node, count=child.position + 1)
    turn.start(turn.child(node, child.position + 1))


def child_done(turn: Turn, node: Node, child: Node) -> None:
    turn.change_node(node, status="done")
    turn.done(node)


def undo(turn: Turn, node: Node) -> None:
    """The abandoned alternatives are being undone already; the current one follows."""
    state = turn.node_state(node)
    if state is None:
        turn.set_node(node, "undone")
        turn.undone(node)
    else:
        turn.change_node(node, status="undoing")
        turn.undo(turn.child(node, state.count))


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    state = turn.change_node(node, undone=(*turn.nodes[node.key].undone, child.position))
    if state.status == "undoing" and len(state.undone) == state.count + 1:
        turn.change_node(node, status="undone")
        turn.undone(node)
