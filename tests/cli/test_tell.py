"""`signal`, `approve`, `reject`, `cancel`, and `retry --correct`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.envelope import Envelope
from contracts.process import ApprovalGiven, CancelRequested, OperatorAction, SignalSent
from orchestrator.engine.book import SagaBook
from orchestrator.language import Signal, approval, pivot, sequence, wait_for
from orchestrator.testkit.lab import Begun, lab_saga, step

DAY = timedelta(days=1)
P = "lab:j1"


class Released(Signal, name="released"):
    by: str


class Review(BaseModel):
    score: int


SAGA = lab_saga(
    sequence(
        approval("review", role="reviewer", form=Review, limit=DAY),
        wait_for(Released, limit=DAY, name="release"),
        pivot(),
        step("p"),
    )
)


@pytest.fixture
def lab(counterpoint: Any, world: Any) -> Any:
    world.book = SagaBook([SAGA])
    return counterpoint.changed(sagas=(SAGA,))


def start(world: Any) -> str:
    begun = Begun(job_id="j1")
    world.feed(P, begun, Envelope(id="e1", source="/lab", type=begun.type), stamp=("lab", 1))
    return P


def told(world: Any) -> Any:
    [(message, _)] = world.connections.actions
    return message


def test_a_signal_before_the_start_is_kept_and_show_says_so(lab: Any, world: Any) -> None:
    answer = lab.json("signal", P, "released", "-", stdin='{"by": "ann"}')
    assert told(world) == SignalSent(process_id=P, signal="released", payload={"by": "ann"}, sender="ada")
    assert world.connections.stamps == [("lab", 1)]
    assert (answer["result"], answer["phase"]) == ("buffered", "early")
    shown = lab("show", P)
    assert (shown.exit_code, "has not started; kept for it: signal/released" in shown.stderr) == (3, True)


def test_a_signal_reaches_the_block_that_waits_for_it(lab: Any, world: Any, tmp_path: Path) -> None:
    start(world)
    assert lab("approve", P, "review", "--form", "-", stdin='{"score": 3}').exit_code == 0
    file = tmp_path / "released.json"
    file.write_text('{"by": "ann"}')
    result = lab("signal", P, "released", str(file), "--operator", "grace")
    assert (result.exit_code, "applied; lab:j1 is running" in result.stdout) == (0, True)


def test_show_says_what_is_waited_for_and_who_said_what(lab: Any, world: Any) -> None:
    text = lab("show", start(world)).stdout
    assert "waiting for review" in text and "the limit of review" in text
    lab("approve", P, "review", "--form", "-", stdin='{"score": 3}')
    lab("signal", P, "released", "-", stdin='{"by": "ann"}')
    text = lab("show", P).stdout
    assert "ada says: approve review" in text and "ada signals released" in text
    lab("cancel", P)


def test_a_signal_that_could_not_be_taken_is_refused_before_it_is_sent(lab: Any, world: Any) -> None:
    unknown = lab("signal", P, "nonsense")
    assert (unknown.exit_code, "it knows: released" in unknown.stderr) == (1, True)
    wrong = lab("signal", P, "released")
    assert (wrong.exit_code, "by: Field required" in wrong.stderr) == (1, True)
    assert lab("signal", "nobody:j1", "released").exit_code == 3
    assert world.connections.actions == []


def test_approve_sends_the_form_and_who_decided(lab: Any, world: Any) -> None:
    answer = lab.json("approve", start(world), "review", "--form", "-", stdin='{"score": 3}')
    assert told(world) == ApprovalGiven(process_id=P, step="review", decision="approve", form={"score": 3}, by="ada")
    assert (answer["result"], answer["decision"], answer["by"]) == ("applied", "approve", "ada")


def test_reject_needs_no_form(lab: Any, world: Any) -> None:
    answer = lab.json("reject", start(world), "review")
    assert (answer["result"], answer["phase"]) == ("applied", "compensated")


def test_an_approval_that_would_be_ignored_is_refused(lab: Any, world: Any) -> None:
    start(world)
    assert "it has: review" in lab("approve", P, "nowhere").stderr
    assert "the form does not fit" in lab("approve", P, "review").stderr
    lab("approve", P, "review", "--form", "-", stdin='{"score": 3}')
    again = lab("reject", P, "review")
    assert (again.exit_code, "does not wait for review" in again.stderr) == (1, True)


def test_a_person_is_asked_back(lab: Any, world: Any) -> None:
    result = lab.changed(interactive=True)("reject", start(world), "review", stdin="n\n")
    assert (result.exit_code, "reject review of lab:j1?" in result.stderr) == (1, True)
    assert world.connections.actions == []


def test_cancel_calls_a_running_process_off(counterpoint: Any, world: Any) -> None:
    process = world.running()
    answer = counterpoint.json("cancel", process, "--note", "the customer called")
    assert told(world) == CancelRequested(process_id=process, operator="ada", note="the customer called")
    assert (answer["result"], answer["phase"]) == ("applied", "compensating")
    again = counterpoint("cancel", process)
    assert (again.exit_code, "there is nothing to call off" in again.stderr) == (1, True)


def test_a_note_that_the_inbox_would_not_take_is_a_usage_error(counterpoint: Any, world: Any) -> None:
    result = counterpoint("cancel", world.running(), "--note", "x" * 2_001)
    assert (result.exit_code, "at most 2,000" in result.stderr) == (2, True)
    assert world.connections.actions == []


def test_past_the_pivot_nothing_is_called_off(counterpoint: Any, world: Any) -> None:
    result = counterpoint("cancel", world.stuck_past_pivot())
    assert (result.exit_code, "point of no return" in result.stderr) == (1, True)


def test_retry_with_a_correction(counterpoint: Any, world: Any, tmp_path: Path) -> None:
    process = world.stuck_past_pivot()
    wrong = counterpoint("retry", process, "--correct", "-", stdin='{"order_id": "o1"}')
    assert (wrong.exit_code, "label_id: Field required" in wrong.stderr) == (1, True)
    assert world.connections.actions == []
    file = tmp_path / "payload.json"
    file.write_text('{"order_id": "o1", "label_id": "l2"}')
    answer = counterpoint.json("retry", process, "--correct", str(file))
    message = told(world)
    assert isinstance(message, OperatorAction) and message.correction == {"order_id": "o1", "label_id": "l2"}
    assert answer["entry"]["effects"][0]["data"] == {"order_id": "o1", "label_id": "l2"}
    assert answer["entry"]["notes"][0] == "ada asked for retry with a correction"


def test_an_undo_is_not_corrected(counterpoint: Any, world: Any) -> None:
    result = counterpoint("retry", world.stuck_undo(), "--correct", "-", stdin="{}")
    assert (result.exit_code, "no payload that could be corrected" in result.stderr) == (1, True)
