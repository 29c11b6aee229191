"""Transitions of `wait_for` and `observe`: one event or signal, within a limit. Given up at once when undone.

State: `waiting`, then `succeeded` with what came, `failed` when the limit has passed (past the pivot: stuck until it
comes after all, or a person decides), `skipped`. What came before the block began waits in the process (`arrivals.py`).
"""

from __future__ import annotations

from orchestrator.engine.correlation import concerns
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Early, Outcome
from orchestrator.engine.turn import Turn
from orchestrator.language.waiting import WaitFor, captured_as


def start(turn: Turn, node: Node) -> None:
    early = _early(turn, node)
    if early is not None:
        turn.early = tuple(one for one in turn.early if one is not early)
        turn.note(f"{node.key}: {early.type} had come already")
        settle(turn, node, early.data)
        return
    turn.change(node, status="waiting", detail=None)
    turn.set_timer(f"{node.key}/limit", turn.now_ms + round(_block(node).limit.total_seconds() * 1000))


def _early(turn: Turn, node: Node) -> Early | None:
    wanted = captured_as(_block(node).wants)
    fitting = (one for one in turn.early if one.type == wanted)
    return next((one for one in fitting if concerns(turn.plan, turn.before.id, node, one.data)), None)


def is_open(turn: Turn, node: Node) -> bool:
    """It takes what it waits for: also when the limit has passed and a person has not decided yet."""
    return turn.step(node).status == "waiting" or node.key in turn.stuck


def settle(turn: Turn, node: Node, data: bytes) -> None:
    """What it waits for has come."""
    turn.clear_timer(f"{node.key}/limit")
    turn.unblock(node.key)
    outcome = Outcome(type=captured_as(_block(node).wants), data=data, try_number=0)
    turn.change(node, status="succeeded", outcome=outcome, detail=None)
    turn.done(node)


def on_limit(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/limit")
    block = _block(node)
    detail = f"{captured_as(block.wants)} has not come within {block.limit}"
    turn.change(node, status="failed", detail=detail)
    turn.fail(node, "silent", detail)


def undo(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/limit")
    turn.unblock(node.key)
    if turn.step(node).status == "waiting":
        turn.change(node, status="failed", detail="given up")
    turn.undone(node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a wait has no children")


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a wait has no children")


def _block(node: Node) -> WaitFor:
    assert isinstance(node.block, WaitFor)
    return node.block
