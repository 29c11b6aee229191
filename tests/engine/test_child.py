"""A process that another one started: what its parent says to it, and how it answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.envelope import Envelope
from contracts.process import StartChild, UndoChild
from orchestrator.engine.expiry import may_expire
from orchestrator.engine.history import decode_entry
from orchestrator.engine.process import Parentage, decode_process, encode_process
from orchestrator.language import Ending, Retry, SagaError, Signal, emit, pivot, sequence, wait_for
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Done, Told
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, child_step, pivoted_child


class Arrived(Signal, name="arrived"):
    dock: str


BEGUN = ChildBegun(child_id="j1", job_id="job")
MARKED = Done(job_id="job", step="c1", mark="m")


def born(*blocks: Block, **options: Any) -> Story:
    """A child that has just been started, by a step of another process."""
    return Story(child_saga(sequence(*(blocks or (child_step("c1"),))), **options)).is_started(BEGUN)


def completed() -> Story:
    story = born().sends("c1").succeeds("c1", MARKED)
    story.answers_parent("completed")
    return story


# Its life.


def test_a_child_begins_like_any_process_and_knows_its_parent() -> None:
    story = born().sends("c1").announces("started")
    start = story.process.start
    assert story.process.parent == Parentage(process="parent:p1", step="child", start="parent:p1/child/1")
    assert (start.id, start.type, ChildBegun.model_validate_json(start.data)) == (
        "parent:p1/child/1", ChildBegun.type, BEGUN,
    )  # fmt: skip


def test_it_brings_its_result_home() -> None:
    story = born().sends("c1").succeeds("c1", MARKED).announces("completed")
    ended = story.answers_parent("completed")
    assert (ended.process_id, ended.child, ended.result_type) == ("parent:p1", "lab-child:j1", Done.type)
    assert ended.result is not None and Done.model_validate(ended.result).mark == "m"
    envelope = story._sent("ended", "completed", None).envelope
    assert (envelope.id, envelope.causation_id) == ("parent:p1/child/1/ended", "parent:p1/child/1")
    assert not may_expire(story.ends("completed").process)


def test_without_returns_it_says_only_that_it_has_completed() -> None:
    ended = born(returns=False).sends("c1").succeeds("c1").answers_parent("completed")
    assert (ended.result_type, ended.result) == (None, None)


def test_a_process_that_nobody_started_so_answers_nobody() -> None:
    story = Story(child_saga(raises=LookupError("never asked"))).starts(BEGUN).sends("c1").succeeds("c1")
    assert may_expire(story.ends("completed").process)


def test_a_child_that_fails_says_where_and_why() -> None:
    story = born(child_step("c1"), child_step("c2")).sends("c1").succeeds("c1").sends("c2").refuses("c2")
    story.undoes("c1").undone("c1")
    ended = story.answers_parent("compensated")
    assert (ended.step, ended.reason, ended.detail) == ("c2", "refused", "refused: lab.refused.v1")
    story.ends("compensated")


def test_a_child_that_a_person_cancels_says_so() -> None:
    story = born().sends("c1").cancels().succeeds("c1").undoes("c1").undone("c1")
    assert story.answers_parent("cancelled").reason == "operator"
    story.ends("cancelled")


def test_a_child_that_runs_out_of_time_says_so() -> None:
    story = born(deadline=timedelta(minutes=1)).sends("c1").without_clock(timedelta(minutes=1))
    story.timer_fires("deadline").succeeds("c1").undoes("c1").undone("c1")
    assert story.answers_parent("cancelled").reason == "deadline"


# What it returns.


def test_a_returns_that_raises_is_stuck_and_can_be_mended() -> None:
    story = born(raises=LookupError("lost")).sends("c1").succeeds("c1", MARKED).is_stuck("returns", reason="lost")
    story.operator("skip").ignored("outcome-needed").operator("retry").is_stuck("returns", reason="lost")
    story.deploys(child_saga(sequence(child_step("c1")))).operator("retry", "returns")
    assert (story.answers_parent("completed").result or {})["mark"] == "m"
    story.ends("completed")


def test_a_person_gives_what_it_returns() -> None:
    story = born(raises=LookupError("lost")).sends("c1").succeeds("c1").is_stuck("returns")
    story.operator("skip", outcome={"x": 1}).ignored("outcome-invalid")
    story.operator("skip", outcome=Done(job_id="job", step="hand", mark="by hand"))
    assert (story.answers_parent("completed").result or {})["mark"] == "by hand"
    story.ends("completed")


def test_a_result_that_is_too_large_is_stuck() -> None:
    large = ChildBegun(child_id="j1", job_id="job", note="x" * 600_000)

    def home(begun: ChildBegun) -> Told:
        return Told(job_id="job", name=begun.note[:1000], reason=begun.note * 2)

    saga = child_saga(emit(home), returns=False)
    saga = type(saga)(
        name=saga.name, version=1, starts_on=ChildBegun, key=saga.key, body=child_step("c1"), returns=home
    )  # fmt: skip
    Story(saga).is_started(large).sends("c1").succeeds("c1").is_stuck("returns", reason="the broker takes")


def test_a_child_that_is_stuck_at_what_it_returns_can_be_called_off() -> None:
    story = born(raises=LookupError("lost")).sends("c1").succeeds("c1").is_stuck("returns").is_called_off()
    story.undoes("c1").undone("c1").answers_parent("cancelled")
    story.ends("cancelled")


def test_a_step_is_not_named_like_what_is_returned() -> None:
    with pytest.raises(SagaError, match="'returns'"):
        child_saga(child_step("returns"), of="returns")


# Called off.


def test_a_running_child_that_is_called_off_undoes_itself() -> None:
    story = born(child_step("c1"), child_step("c2")).sends("c1").succeeds("c1").sends("c2").is_called_off()
    story.announces("compensating").repeats().ignored("already-ending").succeeds("c2").undoes("c2").undone("c2")
    story.undoes("c1").undone("c1")
    assert story.answers_parent("cancelled").reason == "parent"
    story.ends("cancelled").repeats(4).ignored("already-ending")


def test_builders_hear_that_somebody_called_it_off() -> None:
    story = Story(child_saga(cancelled=_over())).is_started(BEGUN).sends("c1").is_called_off().refuses("c1")
    assert story.emitted(Told).reason == "operator"
    story.answers_parent("cancelled")
    assert story.ends("cancelled").process.reason == "parent"


def _over() -> Block:
    def over(begun: ChildBegun, ending: Ending) -> Told:
        return Told(job_id=begun.job_id, name="over", reason=ending.reason, step=ending.step)

    return emit(over)


def test_past_its_pivot_a_child_goes_on() -> None:
    story = Story(pivoted_child()).is_started(BEGUN).sends("c1").succeeds("c1").sends("c2")
    story.is_called_off().ignored("past-pivot").succeeds("c2").answers_parent("completed")
    story.ends("completed").is_called_off().ignored("already-ending")


def test_a_stuck_child_can_be_called_off() -> None:
    story = born(child_step("c1", raises=LookupError("x"))).is_stuck("c1").is_called_off()
    story.answers_parent("cancelled")
    story.ends("cancelled")


# Undone.


def test_a_completed_child_undoes_itself_in_reverse_and_answers_the_undo() -> None:
    story = Story(child_saga(sequence(child_step("c1"), child_step("c2")), cancelled=_over())).is_started(BEGUN)
    story.sends("c1").succeeds("c1").sends("c2").succeeds("c2").answers_parent("completed")
    story.is_undone().announces("compensating").undoes("c2").repeats().ignored("duplicate").undone("c2").undoes("c1")
    story.undone("c1").announces("compensated").emitted(Told)
    ended = story.answers_parent("compensated")
    envelope = story._sent("ended", "compensated", None).envelope
    assert ended.reason == "parent"
    assert (envelope.id, envelope.causation_id) == ("parent:p1/child/undo/1/ended", "parent:p1/child/undo/1")
    assert not may_expire(story.ends("compensated").process)


def test_an_undo_of_what_has_nothing_to_undo_is_answered_at_once() -> None:
    def news(begun: ChildBegun) -> Told:
        return Told(job_id=begun.job_id, name="news")

    story = Story(child_saga(emit(news), returns=False)).is_started(BEGUN)
    story.emitted(Told)
    story.answers_parent("completed")
    story.is_undone().announces("compensating", "compensated").answers_parent("compensated")
    story.ends("compensated")


def test_another_undo_of_what_is_undone_is_answered_again() -> None:
    story = completed().is_undone().undoes("c1").undone("c1")
    story.answers_parent("compensated")
    story.is_undone(number=2).answers_parent("compensated")
    story.ends("compensated").is_undone(number=2).ignored("duplicate")


def test_a_child_past_its_pivot_says_that_it_cannot_be_undone() -> None:
    story = Story(pivoted_child()).is_started(BEGUN).sends("c1").succeeds("c1").sends("c2").succeeds("c2")
    story.answers_parent("completed")
    ended = story.is_undone().answers_parent("completed")
    assert ended.detail == "it is past its point of no return"
    story.ends("completed").is_undone().ignored("duplicate")


def test_a_child_whose_undo_fails_is_stuck_itself_until_a_person_has_seen_to_it() -> None:
    story = born(child_step("c1", undo_policy={"retry": Retry(attempts=1)})).sends("c1").succeeds("c1")
    story.answers_parent("completed")
    story.is_undone().undoes("c1").undo_fails("c1").announces("stuck").is_stuck("c1/undo")
    story.operator("skip", "c1/undo").answers_parent("compensated")
    story.ends("compensated")


def test_an_undo_before_the_end_is_answered_when_it_has_ended() -> None:
    """No parent asks so early; if one did, it would get its answer."""
    story = born().sends("c1").is_undone().succeeds("c1").undoes("c1").undone("c1")
    ended = story.answers_parent("compensated")
    assert ended.reason == "parent" and story._sent("ended", "compensated", None).envelope.causation_id == (
        "parent:p1/child/undo/1"
    )
    story.ends("compensated")


# Let go.


def test_a_child_may_expire_once_it_is_let_go() -> None:
    story = completed()
    assert not may_expire(story.process)
    story.is_released().repeats().ignored("duplicate")
    assert may_expire(story.process) and story.process.phase == "completed"
    assert may_expire(decode_process(encode_process(story.process)))


def test_a_child_lets_its_own_children_go_when_it_is_let_go_itself() -> None:
    inner = child_saga(name="lab-inner")
    saga = child_saga(child("deep", inner, begun=ChildBegun), of="deep")
    story = Story(saga).is_started(BEGUN).sends("deep").child_ends("deep", result=MARKED)
    story.answers_parent("completed")
    story.is_released().releases("deep").ends("completed")


def test_what_is_let_go_before_its_end_is_over_at_its_end() -> None:
    inner = child_saga(name="lab-inner")
    story = Story(child_saga(child("deep", inner, begun=ChildBegun), of="deep")).is_started(BEGUN).sends("deep")
    story.is_released().child_ends("deep", result=MARKED).releases("deep").answers_parent("completed")
    assert may_expire(story.ends("completed").process)


def test_a_process_that_a_late_undo_has_stuck_does_not_expire() -> None:
    options = {"undo_policy": {"retry": Retry(attempts=1)}, "patience": timedelta(seconds=30)}
    story = born(child_step("c1", **options), child_step("c2")).sends("c1").silent("c1").undoes("c1").undone("c1")
    story.answers_parent("compensated")
    story.is_released().late("c1").undoes("c1").undo_fails("c1").is_stuck("c1/undo")
    assert story.process.over and not may_expire(story.process)


# Whose child.


def test_the_same_start_again_is_harmless() -> None:
    story = born().sends("c1").repeats().ignored("duplicate-start").succeeds("c1")
    story.answers_parent("completed")
    story.repeats(3).ignored("duplicate-start").ends("completed")


@pytest.mark.parametrize("by", ["event", "parent", "step"])
def test_there_are_never_two_parents(by: str) -> None:
    saga = child_saga()
    story = Story(saga).starts(BEGUN) if by == "event" else Story(saga).is_started(BEGUN)
    other = {"event": {}, "parent": {"parent": "parent:p2"}, "step": {"step": "other"}}[by]
    before = story.sends("c1").process.parent
    ended = story.is_started(BEGUN, **other).answers_parent("not-started")  # type: ignore[arg-type]
    assert ended.detail is not None and "there is such a process already, running, started by" in ended.detail
    story.repeats().ignored("duplicate")
    assert story.goes_on().process.parent == before


def test_a_start_event_for_a_child_that_runs_is_ignored() -> None:
    born().sends("c1").starts(BEGUN).ignored("already-started").starts(
        ChildBegun(child_id="j1", job_id="other")
    ).ignored("conflicting-start")


def test_only_its_parent_may_say_anything_to_a_child() -> None:
    story = born().sends("c1").is_called_off(parent="parent:p2").ignored("not-awaited")
    story.is_released(parent="parent:p2").ignored("not-awaited")
    ended = story.is_undone(parent="parent:p2").answers_parent("not-started")
    assert ended.process_id == "parent:p2"
    story.goes_on().is_undone(parent="parent:p2").ignored("duplicate").succeeds("c1").answers_parent("completed")
    story.ends("completed")


# Without a process. None of this happens on a whole log.


@pytest.mark.parametrize("how", ["is_called_off", "is_undone"])
def test_what_is_called_off_before_it_began_never_begins(how: str) -> None:
    story = Story(child_saga())
    getattr(story, how)()
    ended = story.announces("cancelled").answers_parent("not-started")
    asked = {"is_called_off": "parent:p1/child/1", "is_undone": "parent:p1/child/undo/1"}[how]
    assert ended.process_id == "parent:p1" and story._sent("ended", "not-started", None).envelope.causation_id == asked
    story.is_started(BEGUN).ignored("duplicate-start").starts(BEGUN).ignored("conflicting-start")
    story.is_called_off().ignored("already-ending").ends("cancelled").is_released().ignored("duplicate")
    assert may_expire(story.ends("cancelled").process)
    assert "is not started for parent:p1/child/1" in " ".join(decode_entry(story.fed[0].decision.history or b"").notes)


def test_a_release_without_a_process_is_ignored() -> None:
    story = Story(child_saga()).is_released()
    story.ignored("no-process")


def test_a_start_that_does_not_fit_its_contract_is_answered() -> None:
    story = Story(child_saga())
    log = story._begin("j1")
    message = StartChild(
        process_id="lab-child:j1", parent="parent:p1", step="child", start="parent:p1/child/1", event={"child_id": 7}
    )
    story._feed(log.from_parent(message, id="parent:p1/child/1"))
    assert story.answers_parent("not-started").detail == "its start event does not fit its contract"
    story.ends("cancelled")


def test_what_cannot_be_read_is_ignored() -> None:
    story = born().sends("c1").receives(Envelope(id="x", source="/x", type=UndoChild.type), b"{}")
    story.ignored("invalid-payload").goes_on()


def test_early_events_wait_for_a_child_too() -> None:
    saga = child_saga(sequence(wait_for(Arrived, limit=timedelta(days=1)), child_step("c1")))
    story = Story(saga).signals(Arrived(dock="3"), key="j1").keeps("signal/arrived").is_started(BEGUN).sends("c1")
    story.succeeds("c1").answers_parent("completed")
    story.ends("completed")


def test_a_pivot_alone_is_no_reason_not_to_be_called_off_before_it() -> None:
    story = Story(child_saga(sequence(child_step("c1"), pivot(), child_step("c2", undo=False)))).is_started(BEGUN)
    story.sends("c1").is_called_off().succeeds("c1").undoes("c1").undone("c1").answers_parent("cancelled")
    story.ends("cancelled")
