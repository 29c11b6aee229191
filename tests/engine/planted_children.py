"""Faults in what a process and its children say to each other, and in what they make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.ids import child_notice_id
from contracts.process import CancelChild, ReleaseChild
from orchestrator.engine import answers, children, decide, interpreter
from orchestrator.engine.blocks import subsaga, undo
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Process
from orchestrator.engine.turn import Turn

Plant = Callable[[pytest.MonkeyPatch], None]
EXPLORED: dict[str, Plant] = {}
"""Found by the explorer, to which a child is a black box."""
TOLD: dict[str, Plant] = {}
"""In the child, or between the two: found by the stories of families."""


def explored(plant: Plant) -> Plant:
    EXPLORED[plant.__name__] = plant
    return plant


def told(plant: Plant) -> Plant:
    TOLD[plant.__name__] = plant
    return plant


@explored
def a_child_that_is_called_off_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    def impatient(turn: Turn, node: Node) -> None:
        state = turn.change(node, undoing=True)
        turn.unblock(node.key)
        if state.status == "awaiting":
            subsaga.tell_child(turn, node, CancelChild, id=child_notice_id(turn.before.id, node.key, "cancel"))
            turn.change(node, status="failed")
        undo.begin(turn, node)

    patch.setattr(subsaga, "undo", impatient)


@explored
def a_late_completion_is_dropped(patch: pytest.MonkeyPatch) -> None:
    def deaf(turn: Turn, node: Node, number: int, ended: Any) -> Any:
        if turn.step(node).undoing and ended.phase == "completed":
            turn.change(node, status="failed")
            undo.close_if_finished(turn, node)
            return None
        return original(turn, node, number, ended)

    original = subsaga.on_ended
    patch.setattr(subsaga, "on_ended", deaf)


@told
def a_completed_child_stays_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(undo, "by_child", lambda node: False)


@explored
def what_was_called_off_completes_the_step_all_the_same(patch: pytest.MonkeyPatch) -> None:
    def proud(turn: Turn, node: Node, number: int, ended: Any) -> None:
        original(turn, node, number, ended)
        if turn.step(node).undos:
            turn.change(node, undos=(), undone=True)
            turn.undone(node)

    original = subsaga._completed
    patch.setattr(subsaga, "_completed", proud)


@explored
def children_are_let_go_as_soon_as_they_have_ended(patch: pytest.MonkeyPatch) -> None:
    def early(turn: Turn, node: Node, number: int, ended: Any) -> None:
        original(turn, node, number, ended)
        subsaga.tell_child(turn, node, ReleaseChild, id=child_notice_id(turn.before.id, node.key, "release"))

    original = subsaga._completed
    patch.setattr(subsaga, "_completed", early)


@explored
def children_are_never_let_go(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(children, "release", lambda turn: None)


@explored
def a_child_that_ended_otherwise_is_undone_again(patch: pytest.MonkeyPatch) -> None:
    def twice(turn: Turn, node: Node, number: int, ended: Any) -> None:
        original(turn, node, number, ended)
        turn.change(node, status="succeeded")
        turn.done(node)

    original = subsaga._failed
    patch.setattr(subsaga, "_failed", twice)


@explored
def the_end_of_a_child_counts_twice(patch: pytest.MonkeyPatch) -> None:
    def eager(turn: Turn, node: Node, number: int, ended: Any) -> None:
        if ended.phase == "completed":
            subsaga._completed(turn, node, number, ended)
        else:
            subsaga._failed(turn, node, number, ended)

    patch.setattr(subsaga, "on_ended", eager)


@told
def a_child_answers_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(children, "complete", lambda turn: True)


@told
def a_child_that_failed_says_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(children, "report", lambda turn, phase: None)


@told
def a_process_takes_another_parent(patch: pytest.MonkeyPatch) -> None:
    def adopted(turn: Turn, message: Any) -> None:
        turn.parentage = children.born(message)
        return

    patch.setattr(children, "_told_by_stranger", adopted)


@told
def an_undo_is_answered_before_it_is_done(patch: pytest.MonkeyPatch) -> None:
    def hasty(turn: Turn, parent: Any) -> Any:
        reason = original(turn, parent)
        if reason is None and turn.parentage is not None and turn.ended is None:
            turn.send(children._answer(turn, turn.parentage, "compensated"))
        return reason

    original = children._undo
    patch.setattr(children, "_undo", hasty)


@told
def a_child_expires_before_it_is_let_go(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Process, "over", property(lambda process: process.ended is not None))
    patch.setattr(Turn, "over", property(lambda turn: turn.ended is not None))


@told
def an_undone_child_says_that_its_start_has_failed(patch: pytest.MonkeyPatch) -> None:
    def confused(turn: Turn, parent: Any, phase: Any, **more: Any) -> Any:
        return original(turn, replace(parent, undo=None), phase, **more)

    original = children._answer
    patch.setattr(children, "_answer", confused)


@told
def a_word_from_a_parent_without_a_process_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forgotten(plan: Any, before: Any, item: Any) -> Any:
        return decide.early.ignored(before, item, "no-process")

    patch.setattr(decide, "_first_from_parent", forgotten)


@told
def an_undone_child_ends_as_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(interpreter, "_by_decree", lambda turn: turn.cause.reason in ("deadline", "operator", "parent"))


@told
def the_result_is_lost_on_the_way(patch: pytest.MonkeyPatch) -> None:
    def poor(turn: Turn, node: Node, number: int, ended: Any) -> Any:
        return original(turn, node, number, ended.model_copy(update={"result": None, "result_type": None}))

    original = subsaga.on_ended
    patch.setattr(subsaga, "on_ended", poor)
    assert answers.subsaga is subsaga
