"""Proves the net: faults planted in the engine, each of them a way to lose money or goods, and each must be found.

A fault is found when a run of the explorer breaks, within the seeds that the suite explores anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from orchestrator.engine import answers, decide, effects, interpreter, operator
from orchestrator.engine.blocks import command, parallel, sequence, undo
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Cause, Outcome
from orchestrator.engine.turn import Turn
from orchestrator.testkit.explore import explore
from tests.engine import test_command, test_fallback, test_for_each
from tests.engine.planted_flow import FLOW_FAULTS
from tests.engine.planted_waits import WAIT_FAULTS
from tests.engine.test_exploration import SEEDS

Plant = Callable[[pytest.MonkeyPatch], None]
FAULTS: dict[str, Plant] = {}


def fault(plant: Plant) -> Plant:
    FAULTS[plant.__name__] = plant
    return plant


@fault
def silence_is_taken_for_failure(patch: pytest.MonkeyPatch) -> None:
    def perhaps(turn: Turn, node: Node, number: int, state: Any, why: str) -> None:
        if state == "silent":
            command._no_effect(turn, node, number, "none", True, why)
        else:
            original(turn, node, number, state, why)

    original = command._perhaps
    patch.setattr(command, "_perhaps", perhaps)


@fault
def perhaps_done_is_taken_for_not_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(undo, "PERHAPS", frozenset())


@fault
def an_unknown_effect_makes_a_new_try(patch: pytest.MonkeyPatch) -> None:
    def on_failure(turn: Turn, node: Node, number: int, effect: Any, retryable: bool, why: str) -> None:
        command._no_effect(turn, node, number, "none", retryable, why)

    patch.setattr(command, "on_failure", on_failure)


@fault
def a_new_try_has_no_new_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(command, "command_id", lambda process, path, number: f"{process}/{path}/1")


@fault
def a_late_success_is_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(undo, "late_success", lambda turn, node, outcome: None)


@fault
def a_late_success_during_its_undo_is_dropped(patch: pytest.MonkeyPatch) -> None:
    def late_success(turn: Turn, node: Node, outcome: Outcome) -> None:
        if not undo.has_open_job(turn.step(node)):
            original(turn, node, outcome)

    original = undo.late_success
    patch.setattr(undo, "late_success", late_success)


@fault
def a_surplus_success_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def late_success(turn: Turn, node: Node, outcome: Outcome) -> None:
        if turn.step(node).status != "succeeded":
            original(turn, node, outcome)

    original = undo.late_success
    patch.setattr(undo, "late_success", late_success)


@fault
def other_tries_of_a_settled_step_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(undo, "undo_other_tries", lambda turn, node, outcome: None)


@fault
def a_sequence_is_undone_forwards(patch: pytest.MonkeyPatch) -> None:
    def start_undo(turn: Turn, node: Node) -> None:
        state = turn.node_state(node)
        if state is None or not node.children:
            original(turn, node)
        else:
            turn.set_node(node, "undoing", state.count)
            turn.undo(turn.child(node, 0))

    def child_undone(turn: Turn, node: Node, child: Node) -> None:
        state = turn.node_state(node)
        assert state is not None
        if child.position < state.count:
            turn.undo(turn.child(node, child.position + 1))
        else:
            turn.set_node(node, "undone")
            turn.undone(node)

    original = sequence.undo
    patch.setattr(sequence, "undo", start_undo)
    patch.setattr(sequence, "child_undone", child_undone)


@fault
def a_sequence_is_undone_all_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sequence, "undo", parallel.undo)
    patch.setattr(sequence, "child_undone", parallel.child_undone)


@fault
def a_step_is_undone_before_it_has_settled(patch: pytest.MonkeyPatch) -> None:
    def hasty(turn: Turn, node: Node) -> None:
        turn.change(node, undoing=True)
        undo.begin(turn, node)

    patch.setattr(command, "undo", hasty)


@fault
def a_stale_outcome_is_taken_for_the_newest_try(patch: pytest.MonkeyPatch) -> None:
    def address(turn: Turn, causation: str | None) -> Any:
        found = original(turn, causation)
        if found is None or found.is_undo:
            return found
        return answers.Address(found.node, len(turn.step(found.node).tries), False)

    original = answers._address
    patch.setattr(answers, "_address", address)


@fault
def a_failure_wins_over_a_success(patch: pytest.MonkeyPatch) -> None:
    def answer_try(turn: Turn, address: Any, kind: Any, outcome: Outcome, failed: Any) -> Any:
        if kind == "success" and command.try_state(turn, address.node, address.number) in ("none", "refused"):
            return "contradicted"
        return original(turn, address, kind, outcome, failed)

    original = answers._answer_try
    patch.setattr(answers, "_answer_try", answer_try)


@fault
def the_siblings_of_a_failure_start_new_steps(patch: pytest.MonkeyPatch) -> None:
    def child_done(turn: Turn, node: Node, child: Node) -> None:
        original(turn, node, child)
        state = turn.node_state(node)
        if state is not None and state.status == "undoing" and child.position + 1 < len(node.children):
            interpreter.TRANSITIONS[type(turn.child(node, child.position + 1).block)].start(
                turn, turn.child(node, child.position + 1)
            )

    def settles_done(turn: Turn, node: Node, number: int, outcome: Outcome) -> None:
        undoing = turn.step(node).undoing
        on_success(turn, node, number, outcome)
        if undoing:
            turn.done(node)

    patch.setattr(Turn, "alive", lambda turn, node: True)
    original, on_success = sequence.child_done, command.on_success
    patch.setattr(sequence, "child_done", child_done)
    patch.setattr(command, "on_success", settles_done)


@fault
def the_next_step_starts_before_its_predecessor_is_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sequence, "start", parallel.start)
    patch.setattr(sequence, "child_done", parallel.child_done)


@fault
def a_failure_past_the_pivot_undoes(patch: pytest.MonkeyPatch) -> None:
    def fail(turn: Turn, node: Node, reason: Any, detail: str | None) -> None:
        turn.compensate(Cause(reason=reason, step=node.key, detail=detail))

    patch.setattr(Turn, "fail", fail)


@fault
def a_process_ends_with_an_open_debt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(interpreter, "_owes", lambda turn: False)


@fault
def a_repeated_success_is_applied(patch: pytest.MonkeyPatch) -> None:
    def answer_try(turn: Turn, address: Any, kind: Any, outcome: Outcome, failed: Any) -> Any:
        if kind == "success":
            command.on_success(turn, address.node, address.number, outcome)
            return None
        return original(turn, address, kind, outcome, failed)

    original = answers._answer_try
    patch.setattr(answers, "_answer_try", answer_try)


@fault
def a_premature_timer_is_accepted(patch: pytest.MonkeyPatch) -> None:
    def timer_fired(turn: Turn) -> Any:
        turn.now_ms = max(turn.now_ms, *turn.timers.values(), 0, 0)
        return original(turn)

    original = decide._timer_fired
    patch.setattr(decide, "_timer_fired", timer_fired)


@fault
def a_timer_outlives_its_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(command, "_stop_timers", lambda turn, node: None)


@fault
def a_stale_operator_is_obeyed(patch: pytest.MonkeyPatch) -> None:
    def act(turn: Turn, action: Any) -> Any:
        return original(turn, action.model_copy(update={"revision": turn.before.revision}))

    original = operator.act
    patch.setattr(decide, "act", act)


@fault
def an_undoing_step_is_executed_again_on_retry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(command, "wait_anew", command.new_try)


@fault
def a_re_send_has_new_bytes(patch: pytest.MonkeyPatch) -> None:
    def send_again(turn: Turn, node: Node) -> None:
        original(turn, node)
        effect = turn.effects.pop()
        headers = tuple((name, b"now" if name == "ce_time" else value) for name, value in effect.record.headers)
        record = type(effect.record)(effect.record.topic, effect.record.key, effect.record.value, headers)
        turn.send(effects.Effect(record, effect.id, effect.type))

    original = command.send_again
    patch.setattr(command, "send_again", send_again)


@fault
def something_is_random(patch: pytest.MonkeyPatch) -> None:
    spans = iter(range(10**9))
    patch.setattr(effects, "child_traceparent", lambda parent, identity: f"{parent[:36]}{next(spans):016x}-01")


@fault
def an_undo_covers_only_the_first_try(patch: pytest.MonkeyPatch) -> None:
    def open_job(turn: Turn, node: Node, covers: tuple[str, ...], outcome: Outcome | None) -> None:
        original(turn, node, (f"{turn.before.id}/{node.key}/1",), outcome)

    original = undo.open_job
    patch.setattr(undo, "open_job", open_job)


@fault
def a_failed_undo_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(undo, "on_failure", lambda turn, node, place, again, why: undo.on_success(turn, node, place))


@fault
def a_decision_changes_the_process_that_it_was_given(patch: pytest.MonkeyPatch) -> None:
    def change(turn: Turn, node: Node, **changes: object) -> Any:
        state = original(turn, node, **changes)
        turn.before.steps[node.key] = msgspec.structs.replace(state)
        return state

    original = Turn.change
    patch.setattr(Turn, "change", change)


FAULTS |= FLOW_FAULTS | WAIT_FAULTS

TOLD: dict[str, Callable[[], None]] = {
    "other_tries_of_a_settled_step_are_forgotten": (
        test_command.test_the_first_success_of_any_try_settles_and_what_is_still_awaited_is_undone
    ),
    "elements_under_way_are_not_told_that_they_are_given_up": (
        test_for_each.test_an_element_that_is_slower_than_the_rest_is_told_at_once
    ),
    "a_failure_stops_nothing_that_is_queued": (
        test_fallback.test_two_loops_of_an_alternative_that_fail_in_one_turn_start_the_next_one_once
    ),
}
"""Faults so rarely met that a story finds them sooner."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[name](monkeypatch)
    if name in TOLD:
        with pytest.raises(AssertionError):
            TOLD[name]()
        return
    for seed in range(SEEDS):
        try:
            explore(Random(seed))
        except AssertionError as error:
            print(f"{name}: found by seed {seed}: {str(error).splitlines()[0]}")
            return
    pytest.fail(f"{name} is not found by {SEEDS} seeds")


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 35
