"""`retry`, `skip` and `compensate`."""

from __future__ import annotations

from typing import Any

from contracts.process import OperatorAction


async def nobody(action: OperatorAction, message_id: str) -> None:
    """The orchestrator does not run."""


def test_retry_names_what_was_seen_and_reports_that_it_was_applied(counterpoint: Any, world: Any) -> None:
    process = world.stuck_past_pivot()
    answer = counterpoint.json("retry", process, "--note", "the carrier is back")
    [(action, message_id)] = world.connections.actions
    assert action == OperatorAction(
        process_id=process,
        action="retry",
        step="dispatch",
        try_number=1,
        revision=5,
        operator="ada",
        note="the carrier is back",
    )
    assert (answer["result"], answer["reason"], answer["phase"]) == ("applied", None, "running")
    assert answer["entry"]["input"]["id"] == message_id


def test_retry_for_people_says_what_came_of_it(counterpoint: Any, world: Any) -> None:
    result = counterpoint("retry", world.stuck_past_pivot(), "--operator", "grace")
    assert result.exit_code == 0
    assert "applied; order-fulfilment:o1 is running" in result.stdout
    assert "grace asked for retry" in result.stderr


def test_an_action_that_comes_too_late_is_reported_as_ignored(counterpoint: Any, world: Any) -> None:
    process = world.stuck_past_pivot()

    async def somebody_else_was_faster(action: OperatorAction, message_id: str) -> None:
        await world.act(action.model_copy(update={"operator": "bob"}), "bobs")
        await world.act(action, message_id)

    world.connections.on_action = somebody_else_was_faster
    result = counterpoint("retry", process)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it was ignored, stale: the process had moved on by then" in result.stderr


def test_what_is_not_stuck_is_refused_before_anything_is_appended(counterpoint: Any, world: Any) -> None:
    process = world.running()
    for command in ("retry", "skip", "compensate"):
        result = counterpoint(command, process)
        assert result.exit_code == 1
        assert "is running, not stuck: there is nothing to decide" in result.stderr
    result = counterpoint("retry", world.stuck_past_pivot("o2"), "--step", "charge")
    assert result.exit_code == 1
    assert "is not stuck at charge, but at dispatch" in result.stderr
    assert world.connections.actions == []


def test_an_unknown_process_is_not_found(counterpoint: Any) -> None:
    assert counterpoint("retry", "order-fulfilment:nobody").exit_code == 3


def test_past_the_pivot_nothing_is_compensated(counterpoint: Any, world: Any) -> None:
    result = counterpoint("compensate", world.stuck_past_pivot())
    assert result.exit_code == 1
    assert "point of no return" in result.stderr
    assert world.connections.actions == []


def test_skip_demands_an_outcome_that_a_later_step_needs(counterpoint: Any, world: Any, tmp_path: Any) -> None:
    process = world.stuck_past_pivot()
    result = counterpoint("skip", process)
    assert result.exit_code == 1
    assert "give one (shipping.dispatched.v1) with --outcome FILE" in result.stderr
    wrong = counterpoint("skip", process, "--outcome", "-", stdin='{"order_id": "o1"}')
    assert wrong.exit_code == 1
    assert "tracking_number: Field required" in wrong.stderr
    assert world.connections.actions == []
    file = tmp_path / "dispatched.json"
    file.write_text('{"order_id": "o1", "tracking_number": "t1", "dispatched_at": "2026-01-01T00:00:00Z"}')
    answer = counterpoint.json("skip", process, "--outcome", str(file))
    assert (answer["result"], answer["phase"]) == ("applied", "completed")


def test_a_stuck_undo_is_named_with_or_without_its_suffix(counterpoint: Any, world: Any) -> None:
    answer = counterpoint.json("retry", world.stuck_undo("o1"), "--step", "reserve")
    assert (answer["step"], answer["try"], answer["phase"]) == ("reserve/undo", 1, "compensating")
    answer = counterpoint.json("skip", world.stuck_undo("o2"), "--step", "reserve/undo")
    assert (answer["step"], answer["phase"]) == ("reserve/undo", "compensated")


def test_without_waiting_it_is_done_when_it_is_in_the_log(counterpoint: Any, world: Any) -> None:
    process = world.stuck_past_pivot()
    world.connections.on_action = nobody
    answer = counterpoint.json("retry", process, "--no-wait")
    assert answer["result"] == "appended"
    assert len(world.connections.actions) == 1


def test_when_nobody_takes_it_up_the_stack_is_away(counterpoint: Any, world: Any) -> None:
    world.connections.on_action = nobody
    result = counterpoint("retry", world.stuck_past_pivot(), "--wait", "0.2")
    assert result.exit_code == 4
    assert "has not taken it up within 0.2 s" in result.stderr


def test_a_person_is_asked_back_unless_yes_is_said(counterpoint: Any, world: Any) -> None:
    process = world.stuck_past_pivot()
    asking = counterpoint.changed(interactive=True)
    refused = asking("retry", process, stdin="n\n")
    assert refused.exit_code == 1
    assert "retry dispatch, after try 1, of order-fulfilment:o1?" in refused.stderr
    assert world.connections.actions == []
    assert asking("retry", process, "--yes").exit_code == 0


def test_unreadable_outcomes_are_told_apart(counterpoint: Any, world: Any) -> None:
    process = world.stuck_past_pivot()
    assert counterpoint("skip", process, "--outcome", "/no/such/file").exit_code == 2
    assert counterpoint("skip", process, "--outcome", "-", stdin="[1]").exit_code == 1
    assert counterpoint("skip", process, "--outcome-type", "x").exit_code == 2
