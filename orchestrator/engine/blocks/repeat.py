"""Transitions of `repeat`: round after round until its predicate holds; undone in reverse.

State `count`: the current round, from 0 (going backward: the last one); `begun`: rounds after which it has failed.
"""

from __future__ import annotations

from orchestrator.engine.building import BuilderFailed, evaluate
from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn
from orchestrator.language.flow import Repeat


def start(turn: Turn, node: Node) -> None:
    turn.set_node(node, "running", 0)
    turn.start(turn.round(node, 0))


def child_done(turn: Turn, node: Node, child: Node) -> None:
    block, number = _block(node), child.index
    try:
        enough = evaluate(block.until, bool, node.slots, turn.captured(node))
    except BuilderFailed as error:
        turn.block(node.key, str(error))
        return
    if enough:
        turn.set_node(node, "done", number)
        turn.done(node)
    elif number + 1 < block.bound:
        another_round(turn, node)
    else:
        turn.change_node(node, begun=number + 1)
        turn.fail(node, "failed", f"{block.name} is not done after {number + 1} rounds")


def another_round(turn: Turn, node: Node) -> None:
    """The next one, also beyond the bound if a person asks for it."""
    number = turn.nodes[node.key].count + 1
    turn.set_node(node, "running", number)
    turn.start(turn.round(node, number))


def judge_again(turn: Turn, node: Node) -> None:
    """A person asks for another look after the predicate raised, or for another round after the last."""
    state = turn.nodes[node.key]
    if state.begun > state.count:
        another_round(turn, node)
    else:
        child_done(turn, node, turn.round(node, state.count))


def undo(turn: Turn, node: Node) -> None:
    state = turn.node_state(node)
    turn.unblock(node.key)
    if state is None:
        turn.set_node(node, "undone")
        turn.undone(node)
    else:
        turn.set_node(node, "undoing", state.count)
        turn.undo(turn.round(node, state.count))


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    if child.index > 0:
        turn.undo(turn.round(node, child.index - 1))
    else:
        turn.change_node(node, status="undone")
        turn.undone(node)


def _block(node: Node) -> Repeat:
    assert isinstance(node.block, Repeat)
    return node.block
