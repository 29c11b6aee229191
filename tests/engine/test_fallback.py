"""`fallback`: the next alternative at once; what was given up is undone beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.language import Retry, command, fallback, parallel, pivot, repeat, sequence, sleep
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, Told, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import predicate

BEGUN = Begun(job_id="j1")
SECOND = timedelta(seconds=1)


def done(name: str, mark: str = "") -> Done:
    return Done(job_id="j1", step=name, mark=mark)


def started(*alternatives: Any, after: Any = None) -> Story:
    body = sequence(step("a"), fallback(*alternatives), after or step("z"))
    return Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").succeeds("a")


def two() -> Story:
    return started(step("b"), step("c")).sends("b")


def test_the_first_alternative_suffices() -> None:
    two().succeeds("b").sends("z").succeeds("z").ends("completed")


def test_a_refusal_starts_the_next_one_at_once() -> None:
    story = two().refuses("b").announces().sends("c").succeeds("c").sends("z").refuses("z").undoes("c").undone("c")
    story.undoes("a").undone("a").emitted(Told)
    story.ends("compensated")


def test_new_tries_come_before_the_next_alternative() -> None:
    story = started(step("b", retry=Retry(attempts=2, first=SECOND)), step("c")).sends("b").fails("b").goes_on()
    story.passes(SECOND).sends("b").fails("b").sends("c")


def test_silence_starts_the_next_one_and_what_is_perhaps_done_is_undone_beside_it() -> None:
    story = two().silent("b").sends("c").undoes("b", covers=(1,)).succeeds("c").sends("z").undone("b").succeeds("z")
    story.ends("completed")


def test_a_late_success_is_undone_and_never_preferred() -> None:
    story = two().silent("b").sends("c").undoes("b").undone("b").late("b", done("b", "m")).undoes("b", covers=(1,))
    story.succeeds("c", done("c", "n")).sends("z").undone("b").succeeds("z").ends("completed")
    story.repeats(3).ignored("duplicate")


def test_a_late_success_after_a_refusal_of_all_is_undone() -> None:
    story = two().refuses("b").sends("c").refuses("c").undoes("a").late("b").undoes("b").undone("a").goes_on()
    story.undone("b").emitted(Told)
    story.ends("compensated")


def test_no_process_ends_with_an_open_debt() -> None:
    story = two().silent("b").sends("c").undoes("b").succeeds("c").sends("z").succeeds("z").goes_on()
    story.announces().undone("b").announces("completed").ends("completed")


def test_a_debt_that_gets_stuck_holds_up_the_end_and_nothing_else() -> None:
    first = step("b", undo_policy={"retry": Retry(attempts=1)})
    story = started(first, step("c")).sends("b").silent("b").sends("c").undoes("b").undo_fails("b")
    story.is_stuck("b/undo").succeeds("c").sends("z").succeeds("z").is_stuck("b/undo")
    story.operator("retry").undoes("b").undone("b").ends("completed")


def test_what_came_before_waits_for_the_debt() -> None:
    story = two().silent("b").sends("c").undoes("b").succeeds("c").sends("z").refuses("z").undoes("c").undone("c")
    story.goes_on().undone("b").undoes("a").undone("a").emitted(Told)
    story.ends("compensated")


def test_all_alternatives_fail() -> None:
    story = started(step("b"), step("c"), step("d")).sends("b").refuses("b").sends("c").silent("c").sends("d")
    story.undoes("c").fails("d", retryable=False).goes_on().undone("c").undoes("a").undone("a")
    assert story.emitted(Told).step == "d"
    story.ends("compensated")


def test_the_alternative_is_undone_in_reverse_and_what_it_sent_is_awaited() -> None:
    first = sequence(step("b"), parallel(step("c"), step("d")))
    story = started(first, step("e")).sends("b").succeeds("b").sends("c", "d").refuses("c").sends("e").goes_on()
    story.succeeds("d").undoes("d").succeeds("e").sends("z").undone("d").undoes("b").undone("b").succeeds("z")
    story.ends("completed")


def test_waits_back_offs_and_stuck_steps_are_given_up_at_once() -> None:
    first = parallel(
        sleep(timedelta(days=1), name="nap"),
        step("b", retry=Retry(first=30 * SECOND)),
        told("t", raises=KeyError()),
        step("c"),
    )
    story = (
        started(first, step("d")).sends("b", "c").is_stuck("t").fails("b").refuses("c").announces("resumed").sends("d")
    )
    assert set(story.process.timers) == {"d/silence"}
    story.succeeds("d").sends("z").succeeds("z").ends("completed")


def test_the_deadline_undoes_all_that_is_left() -> None:
    body = fallback(step("b"), step("c"))
    story = Story(lab_saga(body, deadline=timedelta(minutes=16))).starts(BEGUN).sends("b").silent("b").sends("c")
    story.undoes("b").undone("b").passes(timedelta(minutes=1)).resends("c", "c").succeeds("c").undoes("c").undone(
        "c"
    ).ends("cancelled")


def test_a_persons_compensation_in_the_second_alternative() -> None:
    story = started(step("b"), step("c", raises=LookupError("bug"))).sends("b").refuses("b").is_stuck("c")
    story.operator("compensate").undoes("a").undone("a").emitted(Told)
    story.ends("cancelled")


def test_a_bug_is_no_failure_and_a_mended_one_goes_on() -> None:
    def saga(bug: Exception | None) -> Any:
        return lab_saga(fallback(step("b", raises=bug), step("c")))

    story = Story(saga(LookupError("bug"))).starts(BEGUN).is_stuck("b")
    story.deploys(saga(None)).operator("retry").sends("b").refuses("b").sends("c")


def test_past_the_pivot_the_next_alternative_is_tried_and_the_last_needs_a_person() -> None:
    body = sequence(pivot(), fallback(step("b"), step("c")), step("z"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("b").silent("b").sends("c").undoes("b").undone("b")
    story.refuses("c").is_stuck("c", reason="refused").operator("retry").sends("c").succeeds("c").sends("z")
    story.succeeds("z").ends("completed")


def test_past_the_pivot_what_cannot_be_undone_is_left_to_a_person() -> None:
    body = sequence(pivot(), fallback(sequence(step("b", undo=False), step("c", undo=False)), step("d", undo=False)))
    story = Story(lab_saga(body)).starts(BEGUN).sends("b").succeeds("b").sends("c").refuses("c").sends("d")
    story.is_stuck("b/undo", reason="surplus-success-without-undo").succeeds("d").is_stuck("b/undo")
    story.operator("skip").ends("completed")


def test_past_the_pivot_the_late_success_of_what_cannot_be_undone_is_left_to_a_person() -> None:
    body = sequence(pivot(), fallback(step("b", undo=False), step("d", undo=False)))
    story = Story(lab_saga(body)).starts(BEGUN).sends("b").silent("b").sends("d")
    story.is_stuck("b", reason="perhaps-done-irreversible").late("b").alerts("surplus-success")
    story.is_stuck("b/undo").succeeds("d").operator("skip").ends("completed")


def test_an_inner_fallback_comes_before_an_outer_one() -> None:
    story = started(fallback(step("b"), step("c")), step("d")).sends("b").refuses("b").sends("c").refuses("c")
    story.sends("d").succeeds("d").sends("z")


def test_a_failed_loop_is_an_alternative_that_failed() -> None:
    first = repeat(step("b"), until=predicate("never"), bound=2, name="poll")
    story = started(first, step("c")).sends("poll[0].b").succeeds("poll[0].b").sends("poll[1].b").succeeds("poll[1].b")
    story.sends("c").undoes("poll[1].b").undone("poll[1].b").undoes("poll[0].b").succeeds("c").sends("z")


def test_two_loops_of_an_alternative_that_fail_in_one_turn_start_the_next_one_once() -> None:
    loops = [repeat(told(f"t{n}"), until=predicate("never"), bound=1, name=f"poll{n}") for n in (1, 2)]
    body = fallback(fallback(parallel(*loops), step("c")), step("d"))
    story = Story(lab_saga(body)).starts(BEGUN)
    assert [(sent.step, sent.number) for sent in story.last.sent if sent.kind == "command"] == [("c", 1)]
    assert story.process.phase == "running"


def test_what_a_given_up_alternative_has_captured_is_seen_there_only() -> None:
    def use(begun: Begun, sent: Done) -> Do:
        return Do(job_id=begun.job_id, step="use", saw=sent.mark)

    body = sequence(fallback(sequence(step("b"), step("c")), step("d")), command(use, irreversible=True))
    story = Story(lab_saga(body)).starts(BEGUN).sends("b").succeeds("b", done("b", "old")).sends("c").refuses("c")
    story.sends("d").undoes("b")
    assert story.undo("b").message.model_dump()["mark"] == "old"
    story.succeeds("d", done("d", "new")).sends("use")
    assert story.command("use").message == Do(job_id="j1", step="use", saw="new")


def test_in_the_cancelled_flow() -> None:
    after = fallback(step("letter"), step("call"))
    story = Story(lab_saga(step("a"), cancelled=after)).starts(BEGUN).sends("a").refuses("a").sends("letter")
    story.silent("letter").sends("call").undoes("letter").succeeds("call").goes_on().undone("letter").ends(
        "compensated"
    )


def test_what_cannot_be_meant() -> None:
    with pytest.raises(ValueError, match="two alternatives"):
        fallback(step("a"))
