"""Transitions of `sleep` and `sleep_until`: one timer. Given up at once when it is to be undone."""

from __future__ import annotations

from datetime import datetime

from orchestrator.engine.building import BuilderFailed, evaluate
from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn
from orchestrator.language.flow import Sleep


def start(turn: Turn, node: Node) -> None:
    try:
        due_ms = _due_ms(turn, node)
    except BuilderFailed as error:
        turn.block(node.key, str(error))
        return
    if due_ms <= turn.now_ms:
        turn.set_node(node, "done")
        turn.done(node)
    else:
        turn.set_node(node, "running")
        turn.set_timer(f"{node.key}/wake", due_ms)


def _due_ms(turn: Turn, node: Node) -> int:
    block = node.block
    assert isinstance(block, Sleep)
    if block.duration is not None:
        return turn.now_ms + round(block.duration.total_seconds() * 1000)
    assert block.until is not None
    moment: datetime = evaluate(block.until, datetime, node.slots, turn.captured(node))
    try:
        offset = moment.utcoffset()
    except Exception as error:
        raise BuilderFailed(f"{block.until.__name__} returned a time whose UTC offset cannot be told") from error
    if offset is None:
        raise BuilderFailed(f"{block.until.__name__} returned a time without a UTC offset")
    return round(moment.timestamp() * 1000)


def on_wake(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/wake")
    turn.set_node(node, "done")
    turn.done(node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a sleep has no children")


def undo(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/wake")
    turn.unblock(node.key)
    turn.set_node(node, "undone")
    turn.undone(node)


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a sleep has no children")
