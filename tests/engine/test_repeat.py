"""`repeat`: round after round until its predicate holds; the rounds are undone in reverse."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from orchestrator.language import From, command, fallback, parallel, pivot, repeat, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, Revert, Told, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import each, predicate

BEGUN = Begun(job_id="j1")
SECOND = timedelta(seconds=1)


def ready(done: Annotated[Done, From("b")]) -> bool:
    if done.mark == "bug":
        raise LookupError("not today")
    return done.mark == "ready"


def polled(bound: int = 3, **options: Any) -> Story:
    body = sequence(step("a"), repeat(step("b", **options), until=ready, bound=bound, name="poll"), step("c"))
    return Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").succeeds("a").sends("poll[0].b")


def answered(story: Story, number: int, mark: str = "") -> Story:
    return story.succeeds(f"poll[{number}].b", Done(job_id="j1", step="b", mark=mark))


def test_until_it_holds() -> None:
    story = answered(polled(), 0).sends("poll[1].b")
    answered(story, 1, "ready").sends("c").succeeds("c").ends("completed")
    answered(polled(), 0, "ready").sends("c")


def test_the_rounds_are_undone_in_reverse() -> None:
    story = answered(answered(polled(), 0).sends("poll[1].b"), 1).sends("poll[2].b")
    answered(story, 2, "ready").sends("c").refuses("c").undoes("poll[2].b").undone("poll[2].b").undoes("poll[1].b")
    story.undone("poll[1].b").undoes("poll[0].b").undone("poll[0].b").undoes("a").undone("a").emitted(Told)
    story.ends("compensated")


def test_a_loop_that_is_not_done_within_its_bound_has_failed() -> None:
    story = answered(answered(polled(2), 0).sends("poll[1].b"), 1).undoes("poll[1].b").undone("poll[1].b")
    story.undoes("poll[0].b").undone("poll[0].b").undoes("a").undone("a")
    ending = story.emitted(Told)
    assert (ending.reason, ending.step) == ("failed", "poll")
    story.ends("compensated")


def test_past_the_pivot_a_person_may_ask_for_more_rounds_or_skip() -> None:
    def stuck() -> Story:
        body = sequence(pivot(), repeat(step("b"), until=ready, bound=1, name="poll"))
        story = Story(lab_saga(body)).starts(BEGUN).sends("poll[0].b")
        return answered(story, 0).is_stuck("poll", reason="failed")

    story = stuck().operator("compensate").ignored("past-pivot").operator("retry").sends("poll[1].b")
    answered(answered(story, 1).is_stuck("poll").operator("retry").sends("poll[2].b"), 2, "ready").ends("completed")
    stuck().operator("skip").ends("completed")


def test_failure_silence_and_late_success_of_a_round() -> None:
    story = answered(polled(), 0).sends("poll[1].b").silent("poll[1].b").undoes("poll[1].b").late("poll[1].b")
    story.undone("poll[1].b").undoes("poll[1].b").undone("poll[1].b").undoes("poll[0].b").undone("poll[0].b")
    story.undoes("a").undone("a").emitted(Told)
    story.ends("compensated")


def test_answers_that_come_twice_and_to_rounds_that_there_are_not() -> None:
    story = answered(polled(), 0).sends("poll[1].b").repeats().ignored("duplicate")
    story.answers("lab:j1/poll[2].b/1", Done(job_id="j1", step="b")).ignored("not-awaited").goes_on()


def test_the_deadline_in_a_round() -> None:
    saga = lab_saga(repeat(step("b"), until=ready, bound=3, name="poll"), deadline=10 * SECOND)
    story = answered(Story(saga).starts(BEGUN).sends("poll[0].b"), 0).sends("poll[1].b").passes(10 * SECOND)
    answered(story, 1).undoes("poll[1].b").undone("poll[1].b").undoes("poll[0].b").undone("poll[0].b")
    story.ends("cancelled")


def test_a_predicate_that_raises_is_asked_again_also_after_the_last_round() -> None:
    def mended(done: Annotated[Done, From("b")]) -> bool:
        return True

    def saga(until: Any) -> Any:
        return lab_saga(sequence(pivot(), repeat(step("b"), until=until, bound=1, name="poll")))

    story = answered(Story(saga(ready)).starts(BEGUN).sends("poll[0].b"), 0, "bug").is_stuck("poll", reason="not today")
    story.operator("retry").is_stuck("poll", reason="not today")  # no other round: it has not said that one is wanted
    story.deploys(saga(mended)).operator("retry").ends("completed")


def test_a_predicate_that_raises_may_be_skipped_or_given_up() -> None:
    answered(polled(), 0, "bug").is_stuck("poll").operator("skip").sends("c")
    answered(polled(), 0, "bug").is_stuck("poll").operator("compensate").undoes("poll[0].b")


def test_builders_afterwards_see_the_latest_round_and_undos_their_own() -> None:
    def use(begun: Begun, last: Annotated[Done, From("b")]) -> Do:
        return Do(job_id=begun.job_id, step="use", saw=last.mark)

    def unuse(begun: Begun, last: Annotated[Done | None, From("b")]) -> Revert:
        return Revert(job_id=begun.job_id, step="use", mark=last.mark if last else None)

    loop = repeat(step("b"), until=ready, bound=3, name="poll")
    body = sequence(command(lambda_free, name="first", undo=unuse), loop, command(use, undo=unuse), step("z"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("first").succeeds("first").sends("poll[0].b")
    answered(answered(story, 0, "old").sends("poll[1].b"), 1, "ready").sends("use")
    assert story.command("use").message == Do(job_id="j1", step="use", saw="ready")
    story.succeeds("use").sends("z").refuses("z").undoes("use").undone("use").undoes("poll[1].b")
    story.undone("poll[1].b").undoes("poll[0].b")
    assert story.undo("poll[0].b").message == Revert(job_id="j1", step="b", mark="old")
    story.undone("poll[0].b").undoes("first")
    assert story.undo("first").message == Revert(job_id="j1", step="use", mark="ready")


def lambda_free(begun: Begun) -> Do:
    return Do(job_id=begun.job_id, step="first")


def test_three_deep() -> None:
    body = parallel(fallback(each(1, repeat(step("b"), until=ready, bound=1, name="poll"), name="ship"), step("z")))
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].poll[0].b").succeeds("ship[0].poll[0].b")
    story.sends("z").undoes("ship[0].poll[0].b").succeeds("z").goes_on().undone("ship[0].poll[0].b").ends("completed")


def test_rounds_that_wait_for_nothing() -> None:
    story = Story(lab_saga(repeat(told("x"), until=predicate("never"), bound=2, name="poll"))).starts(BEGUN)
    assert [sent.step for sent in story.last.sent if sent.kind == "emit"] == ["poll[0].x", "poll[1].x"]
    assert story.process.phase == "compensated"
