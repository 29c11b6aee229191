"""Transitions of `pivot`: from here on a process only goes forward."""

from __future__ import annotations

from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn


def start(turn: Turn, node: Node) -> None:
    turn.past_pivot = True
    turn.note("past the pivot: from here on the process only goes forward")
    turn.done(node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a pivot has no children")


def undo(turn: Turn, node: Node) -> None:
    raise AssertionError("nothing is undone past the pivot")


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a pivot has no children")
