"""Faults in the blocks that wait for somebody: wait_for, observe, approval, and in what calls a process off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.engine import arrivals, early
from orchestrator.engine.blocks import approval, command, wait
from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn

Plant = Callable[[pytest.MonkeyPatch], None]
WAIT_FAULTS: dict[str, Plant] = {}


def fault(plant: Plant) -> Plant:
    WAIT_FAULTS[plant.__name__] = plant
    return plant


@fault
def an_early_event_is_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wait, "_early", lambda turn, node: None)


@fault
def an_early_event_is_taken_twice(patch: pytest.MonkeyPatch) -> None:
    def start(turn: Turn, node: Node) -> None:
        kept = turn.early
        original(turn, node)
        turn.early = kept

    original = wait.start
    patch.setattr(wait, "start", start)


@fault
def the_newest_early_event_is_taken_first(patch: pytest.MonkeyPatch) -> None:
    def newest(turn: Turn, node: Node) -> Any:
        kept = turn.early
        turn.early = tuple(reversed(kept))
        found = original(turn, node)
        turn.early = kept
        return found

    original = wait._early
    patch.setattr(wait, "_early", newest)


@fault
def an_event_is_kept_although_a_block_waits_for_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arrivals, "_waiting", lambda turn, numbers: None)


@fault
def what_came_before_the_process_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(early, "taken_over", lambda plan, before: ())


@fault
def a_repeated_event_is_taken_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arrivals, "remember", lambda seen, item: seen)


@fault
def an_event_for_another_process_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arrivals, "concerns", lambda plan, process, node, data: True)


@fault
def a_visitor_decides(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approval, "roles", lambda turn, node: frozenset(("clerk", "chief", "visitor")))


@fault
def the_chief_decides_before_escalation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approval, "roles", lambda turn, node: frozenset(("clerk", "chief")))


@fault
def the_chief_never_decides(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approval, "roles", lambda turn, node: frozenset(("clerk",)))


@fault
def nobody_hears_of_an_escalation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approval, "on_escalation", lambda turn, node: turn.clear_timer(f"{node.key}/escalation"))


@fault
def a_rejection_is_an_approval(patch: pytest.MonkeyPatch) -> None:
    original = approval.decided

    def decided(turn: Turn, node: Node, decision: Any, form: Any, by: str) -> None:
        original(turn, node, "approve", form, by)

    patch.setattr(approval, "decided", decided)


@fault
def what_is_given_up_goes_on_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wait, "undo", lambda turn, node: turn.undone(node))


@fault
def the_next_step_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    def start(turn: Turn, node: Node) -> None:
        original(turn, node)
        if turn.step(node).status == "waiting":
            turn.done(node)

    original = wait.start
    patch.setattr(wait, "start", start)


@fault
def what_was_called_off_before_it_began_goes_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(early, "called_off_before", lambda plan, before: False)


@fault
def a_step_that_is_to_be_held_is_undone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(command, "_failed", lambda turn, node, reason, why: turn.fail(node, reason, why))
