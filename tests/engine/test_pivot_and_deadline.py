"""The point of no return, and the time limit of a whole process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orchestrator.language import Retry, parallel, pivot, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
MINUTE = timedelta(minutes=1)


def saga(**options: Any) -> Story:
    """Two steps at once, the pivot, one more step; five minutes for all."""
    body = sequence(parallel(step("a", **options), step("b")), pivot(), step("p", undo=False), told("news"))
    return Story(lab_saga(body, cancelled=told_ending(), deadline=5 * MINUTE)).starts(BEGUN).sends("a", "b")


def at_the_deadline(story: Story) -> Story:
    return story.waits_until("deadline")


def test_the_deadline_before_the_pivot_undoes_everything_and_the_process_is_cancelled() -> None:
    story = at_the_deadline(saga().succeeds("a")).announces("compensating").undoes("a").undone("a")
    story.succeeds("b").undoes("b").undone("b")
    over = story.emitted(Told)
    assert (over.reason, over.step) == ("deadline", None)
    story.announces("cancelled").ends("cancelled")
    assert story.process.deadline_passed


def test_the_deadline_gives_a_back_off_up() -> None:
    story = saga(retry=Retry(first=10 * MINUTE, maximum=10 * MINUTE)).succeeds("b").fails("a")
    at_the_deadline(story).undoes("b").undone("b").emitted(Told)
    story.ends("cancelled")


def test_the_deadline_gives_a_step_up_that_is_stuck() -> None:
    body = sequence(step("a"), step("b", raises=ValueError("bug")), pivot())
    story = Story(lab_saga(body, deadline=MINUTE)).starts(BEGUN).sends("a").succeeds("a").is_stuck("b")
    story.passes(MINUTE).announces("resumed", "compensating").undoes("a").undone("a").ends("cancelled")


def test_the_deadline_after_the_pivot_only_alerts() -> None:
    story = at_the_deadline(saga().succeeds("a").succeeds("b").sends("p")).alerts("deadline-after-pivot").goes_on()
    story.succeeds("p").emitted(Told)
    story.ends("completed")


def test_a_deadline_while_undoing_changes_nothing() -> None:
    story = saga().refuses("a")
    assert "deadline" not in story.process.timers
    story.timer_fires("deadline").ignored("stale").succeeds("b").undoes("b").undone("b").emitted(Told)
    story.ends("compensated")


def test_an_ended_process_has_no_deadline() -> None:
    story = saga().succeeds("a").succeeds("b").sends("p").succeeds("p")
    story.emitted(Told)
    assert story.ends("completed").process.timers == {}


def test_a_failure_after_the_pivot_undoes_nothing() -> None:
    story = saga().succeeds("a").succeeds("b").sends("p").refuses("p").is_stuck("p", reason="refused")
    assert story.last.sent[0].kind == "lifecycle" and len(story.last.sent) == 1
    assert story.process.cause is None


def test_a_deadline_before_the_pivot_and_without_a_cancelled_flow() -> None:
    story = Story(lab_saga(sequence(step("a"), step("b")), deadline=MINUTE)).starts(BEGUN).sends("a").succeeds("a")
    story.sends("b").passes(30 * timedelta(seconds=1)).resends("b")
    story.passes(timedelta(seconds=30)).resends("b").succeeds("b").undoes("b").undone("b").undoes("a").undone("a")
    story.ends("cancelled")


def test_nothing_is_cut_off_at_the_pivot() -> None:
    """All before it has finished when it is passed: an answer that comes later is surplus, and is undone."""
    body = sequence(step("a", retry=Retry(first=timedelta(seconds=1))), pivot(), step("p", undo=False))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").fails("a").passes(timedelta(seconds=1)).sends("a")
    story.succeeds("a", number=2).sends("p").late("a", number=1).undoes("a", covers=(1,)).succeeds("p").goes_on()
    story.undone("a").ends("completed")


def test_a_saga_that_is_only_a_pivot() -> None:
    Story(lab_saga(sequence(pivot()))).starts(BEGUN).announces("started", "completed").ends("completed")


def test_a_body_that_is_done_cannot_be_cancelled_by_the_deadline_while_a_debt_is_open() -> None:
    body = sequence(step("a", retry=Retry(first=timedelta(seconds=1))), told("news"))
    story = Story(lab_saga(body, deadline=MINUTE)).starts(BEGUN).sends("a").fails("a").passes(timedelta(seconds=1))
    story.sends("a").succeeds("a", number=1).undoes("a", covers=(2,)).emitted(Told)
    story.passes(2 * MINUTE).resends_undo("a", "a", "a", "a").goes_on().undone("a").ends("completed")
