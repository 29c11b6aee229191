"""Faults in the blocks that decide which blocks run: choice, for_each, repeat, fallback, sleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.engine.blocks import choice, fallback, for_each, parallel, repeat, sequence, sleep
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Cause
from orchestrator.engine.turn import Turn

Plant = Callable[[pytest.MonkeyPatch], None]
FLOW_FAULTS: dict[str, Plant] = {}


def fault(plant: Plant) -> Plant:
    FLOW_FAULTS[plant.__name__] = plant
    return plant


@fault
def elements_under_way_are_not_told_that_they_are_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "finished", lambda turn, node: True)


@fault
def more_elements_are_under_way_than_allowed(patch: pytest.MonkeyPatch) -> None:
    def start(turn: Turn, node: Node) -> None:
        original(turn, node)
        state = turn.node_state(node)
        if state is not None and state.begun < len(state.items):
            for_each._start_next(turn, node)

    original = for_each.start
    patch.setattr(for_each, "start", start)


@fault
def the_last_element_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def child_done(turn: Turn, node: Node, child: Node) -> None:
        state = turn.nodes[node.key]
        if len(state.items) > 1 and state.begun == len(state.items):
            turn.change_node(node, status="done")
            turn.done(node)
        else:
            original(turn, node, child)

    original = for_each.child_done
    patch.setattr(for_each, "child_done", child_done)


@fault
def only_the_elements_of_the_window_are_undone(patch: pytest.MonkeyPatch) -> None:
    def child_undone(turn: Turn, node: Node, child: Node) -> None:
        turn.change_node(node, status="undone")
        turn.undone(node)

    patch.setattr(for_each, "child_undone", child_undone)


@fault
def only_the_last_round_is_undone(patch: pytest.MonkeyPatch) -> None:
    def child_undone(turn: Turn, node: Node, child: Node) -> None:
        turn.change_node(node, status="undone")
        turn.undone(node)

    patch.setattr(repeat, "child_undone", child_undone)


@fault
def rounds_are_undone_all_at_once(patch: pytest.MonkeyPatch) -> None:
    def start_undo(turn: Turn, node: Node) -> None:
        state = turn.node_state(node)
        if state is not None and state.status in ("running", "done"):
            for number in range(state.count):
                turn.undo(turn.round(node, number))
        original(turn, node)

    original = repeat.undo
    patch.setattr(repeat, "undo", start_undo)
    patch.setattr(repeat, "child_undone", parallel.child_undone)


@fault
def an_abandoned_alternative_is_not_undone(patch: pytest.MonkeyPatch) -> None:
    def child_failed(turn: Turn, node: Node, child: Node) -> None:
        turn.change_node(node, count=child.position + 1)
        turn.start(turn.child(node, child.position + 1))

    patch.setattr(fallback, "child_failed", child_failed)


@fault
def a_fallback_is_undone_before_its_abandoned_alternatives_are(patch: pytest.MonkeyPatch) -> None:
    def child_undone(turn: Turn, node: Node, child: Node) -> None:
        if child.position == turn.nodes[node.key].count:
            turn.change_node(node, status="undone")
            turn.undone(node)

    patch.setattr(fallback, "child_undone", child_undone)


@fault
def a_failure_in_an_alternative_undoes_everything(patch: pytest.MonkeyPatch) -> None:
    def fail(turn: Turn, node: Node, reason: Any, detail: str | None) -> None:
        original(turn, node, reason, detail)
        if turn._abandoned_alternative(node) is not None and not turn.past_pivot:
            turn.compensate(Cause(reason=reason, step=node.key, detail=detail))

    original = Turn.fail
    patch.setattr(Turn, "fail", fail)


@fault
def an_abandoned_alternative_goes_on(patch: pytest.MonkeyPatch) -> None:
    def start_undo(turn: Turn, node: Node) -> None:
        if turn.cause is not None:
            original(turn, node)

    original = sequence.undo
    patch.setattr(sequence, "undo", start_undo)


@fault
def a_failure_stops_nothing_that_is_queued(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "alive", lambda turn, node: True)


@fault
def the_last_branch_is_taken(patch: pytest.MonkeyPatch) -> None:
    def chosen(turn: Turn, node: Node) -> int:
        return len(node.children) - 1 if original(turn, node) >= 0 else choice.NONE

    original = choice._chosen
    patch.setattr(choice, "_chosen", chosen)


@fault
def a_choice_is_undone_by_its_first_branch(patch: pytest.MonkeyPatch) -> None:
    def start_undo(turn: Turn, node: Node) -> None:
        state = turn.node_state(node)
        if state is None or state.count == choice.NONE:
            original(turn, node)
        else:
            turn.set_node(node, "undoing", 0)
            turn.undo(turn.child(node, 0))

    original = choice.undo
    patch.setattr(choice, "undo", start_undo)


@fault
def a_sleep_is_not_given_up(patch: pytest.MonkeyPatch) -> None:
    def start_undo(turn: Turn, node: Node) -> None:
        turn.set_node(node, "undone")
        turn.undone(node)

    patch.setattr(sleep, "undo", start_undo)


@fault
def a_sleep_is_over_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sleep, "_due_ms", lambda turn, node: turn.now_ms)
