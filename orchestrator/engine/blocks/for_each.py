"""Transitions of `for_each`: the body once for each element, `concurrency` at a time, undone as many at a time.

What is still under way is told first that it is undone, since it must begin nothing new; then the rest, in reverse.
State: `items` the elements, fixed at the start; `begun` how many were started, going backward those below it are still
to be told, but for the ones in `told`; `count` how many have finished, going backward how many are left.
"""

from __future__ import annotations

from orchestrator.engine.building import BuilderFailed, evaluate, serialize
from orchestrator.engine.plan import Node
from orchestrator.engine.process import NodeState
from orchestrator.engine.turn import Turn
from orchestrator.language.flow import ForEach


def start(turn: Turn, node: Node) -> None:
    block = _block(node)
    try:
        elements = evaluate(block.items, tuple, node.slots, turn.captured(node))
        if len(elements) > block.bound:
            raise BuilderFailed(f"{block.name} has {len(elements)} elements, more than its bound of {block.bound}")
        items = tuple(serialize(block.items, node.element, element) for element in elements)
    except BuilderFailed as error:
        turn.block(node.key, str(error))
        return
    turn.nodes[node.key] = NodeState(status="running", items=items)
    if not items:
        turn.change_node(node, status="done")
        turn.done(node)
    for _ in range(min(block.concurrency, len(items))):
        _start_next(turn, node)


def _start_next(turn: Turn, node: Node) -> None:
    index = turn.nodes[node.key].begun
    turn.change_node(node, begun=index + 1)
    turn.start(turn.round(node, index))


def child_done(turn: Turn, node: Node, child: Node) -> None:
    state = turn.change_node(node, count=turn.nodes[node.key].count + 1)
    if state.begun < len(state.items):
        _start_next(turn, node)
    elif state.count == len(state.items):
        turn.change_node(node, status="done")
        turn.done(node)


def undo(turn: Turn, node: Node) -> None:
    state = turn.node_state(node)
    turn.unblock(node.key)
    if state is None or not state.begun:
        turn.set_node(node, "undone")
        turn.undone(node)
        return
    told = tuple(index for index in reversed(range(state.begun)) if not turn.finished(turn.round(node, index)))
    turn.change_node(node, status="undoing", count=state.begun, told=told)
    for index in told:
        turn.undo(turn.round(node, index))
    for _ in range(min(_block(node).concurrency, state.begun) - len(told)):
        _undo_next(turn, node)


def _undo_next(turn: Turn, node: Node) -> None:
    """The last element that has not been told; none may be left."""
    state = turn.nodes[node.key]
    index = state.begun - 1
    while index in state.told:
        index -= 1
    turn.change_node(node, begun=max(index, 0))
    if index >= 0:
        turn.undo(turn.round(node, index))


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    state = turn.change_node(node, count=turn.nodes[node.key].count - 1)
    if state.count:
        _undo_next(turn, node)
    else:
        turn.change_node(node, status="undone")
        turn.undone(node)


def _block(node: Node) -> ForEach:
    assert isinstance(node.block, ForEach)
    return node.block
