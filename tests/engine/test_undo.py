"""Undoing: in which order, of what, and what happens when it fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orchestrator.language import Retry, command, parallel, pivot, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, Refused, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
SECOND = timedelta(seconds=1)


def done(name: str, mark: str = "") -> Done:
    return Done(job_id="j1", step=name, mark=mark)


# Order.


def test_a_sequence_is_undone_in_reverse_one_after_the_other() -> None:
    story = Story(lab_saga(sequence(step("a"), step("b"), step("c"), step("d")))).starts(BEGUN)
    for name in ("a", "b", "c"):
        story.sends(name).succeeds(name)
    story.sends("d").refuses("d").undoes("c").undone("c").undoes("b").undone("b").undoes("a").undone("a")
    story.ends("compensated")


def test_a_parallel_is_undone_side_by_side() -> None:
    story = Story(lab_saga(sequence(parallel(step("a"), step("b")), step("c")))).starts(BEGUN).sends("a", "b")
    story.succeeds("b").succeeds("a").sends("c").refuses("c").undoes("a", "b")
    story.undone("b").undone("a").ends("compensated")


def test_nothing_is_undone_before_it_has_settled() -> None:
    story = Story(lab_saga(sequence(step("z"), parallel(step("a"), step("b"), step("c"))))).starts(BEGUN)
    story.sends("z").succeeds("z").sends("a", "b", "c").succeeds("a")
    story.refuses("b").undoes("a").undone("a").goes_on()  # c is still awaited: neither it nor z is undone
    story.passes(30 * SECOND).resends("c")
    story.succeeds("c").undoes("c").undone("c").undoes("z").undone("z").ends("compensated")


def test_a_step_that_fails_while_it_is_awaited_for_the_undo_makes_no_new_try() -> None:
    story = Story(lab_saga(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b").refuses("b").goes_on()
    story.fails("a", effect="none", retryable=True).ends("compensated")


def test_a_step_that_falls_silent_while_it_is_awaited_for_the_undo_is_undone() -> None:
    story = Story(lab_saga(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b").refuses("b")
    story.silent("a").undoes("a", covers=(1,)).undone("a").ends("compensated")


def test_a_step_of_unknown_effect_that_is_awaited_for_the_undo_is_undone() -> None:
    story = Story(lab_saga(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b").refuses("b")
    story.fails("a", effect="unknown").undoes("a").undone("a").ends("compensated")


def test_a_back_off_is_given_up_at_once() -> None:
    story = Story(lab_saga(parallel(step("a", retry=Retry(first=timedelta(minutes=1))), step("b")))).starts(BEGUN)
    story.sends("a", "b").fails("a").refuses("b").ends("compensated")


def test_the_first_failure_stops_new_steps_in_the_siblings() -> None:
    story = Story(lab_saga(parallel(sequence(step("a"), step("a2")), step("b")))).starts(BEGUN).sends("a", "b")
    story.refuses("b").succeeds("a").undoes("a").undone("a").ends("compensated")


def test_only_the_first_of_two_failures_is_the_cause() -> None:
    saga = lab_saga(parallel(step("a"), step("b")), cancelled=told_ending())
    story = Story(saga).starts(BEGUN).sends("a", "b").refuses("b").fails("a", retryable=False)
    assert story.emitted(Told).step == "b"
    story.ends("compensated")


def test_three_deep_everything_is_undone_inside_out() -> None:
    body = sequence(
        step("a"),
        parallel(
            sequence(step("b"), parallel(step("c"), sequence(step("d"), step("e")))),
            step("f"),
        ),
        step("g"),
    )
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("b", "f")
    story.succeeds("b").sends("c", "d").succeeds("d").sends("e").succeeds("e").succeeds("c").goes_on()
    story.succeeds("f").sends("g").refuses("g").undoes("f", "c", "e")
    story.undone("e").undoes("d").undone("c").goes_on()
    story.undone("d").undoes("b").undone("b").goes_on()
    story.undone("f").undoes("a").undone("a").ends("compensated")


def test_three_deep_a_failure_in_the_middle_undoes_what_was_begun() -> None:
    body = parallel(sequence(step("a"), parallel(sequence(step("b"), step("c")), step("d")), step("x")), step("e"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a", "e").succeeds("a").sends("b", "d")
    story.succeeds("b").sends("c").fails("d", effect="unknown").undoes("d").goes_on()
    story.succeeds("c").undoes("c").undone("c").undoes("b").undone("d").undone("b").undoes("a")
    story.undone("a").goes_on().refuses("e").ends("compensated")


def test_empty_blocks_are_done_and_undone() -> None:
    body = sequence(sequence(), parallel(), step("a"), parallel(sequence(), step("b")), sequence(parallel()))
    Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("b").succeeds("b").ends("completed")
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("b")
    story.refuses("b").undoes("a").undone("a").ends("compensated")


def test_a_saga_of_one_step_or_one_emit() -> None:
    Story(lab_saga(step("a"))).starts(BEGUN).sends("a").succeeds("a").ends("completed")
    Story(lab_saga(step("a"))).starts(BEGUN).sends("a").silent("a").undoes("a").undone("a").ends("compensated")
    story = Story(lab_saga(told("news"))).starts(BEGUN)
    story.emitted(Told)
    story.announces("started", "completed").ends("completed")


def test_what_was_published_is_not_unpublished() -> None:
    story = Story(lab_saga(sequence(step("a"), told("news"), step("b")))).starts(BEGUN).sends("a").succeeds("a")
    story.emitted(Told)
    story.sends("b").refuses("b").undoes("a").undone("a").ends("compensated")


def test_irreversible_steps_stay_done() -> None:
    body = sequence(step("a"), step("b", undo=False, irreversible=True), step("c"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("b").succeeds("b").sends("c")
    story.refuses("c").undoes("a").undone("a").ends("compensated")


def test_a_perhaps_done_irreversible_step_ends_stuck_and_its_predecessors_wait() -> None:
    story = Story(lab_saga(sequence(step("a"), step("b", undo=False, irreversible=True)))).starts(BEGUN)
    story.sends("a").succeeds("a").sends("b").silent("b").is_stuck("b", reason="perhaps-done-irreversible")
    story.operator("skip").undoes("a").undone("a").ends("compensated")
    story.late("b").alerts("surplus-success").ends("compensated")


def test_the_late_success_of_a_perhaps_done_irreversible_step_ends_the_doubt() -> None:
    story = Story(lab_saga(sequence(step("a"), step("b", undo=False, irreversible=True)))).starts(BEGUN)
    story.sends("a").succeeds("a").sends("b").silent("b").is_stuck("b")
    story.late("b").announces("resumed").undoes("a").undone("a").ends("compensated")


# Failing undos.


def failing(**policy: Any) -> Story:
    """`a` was done, `b` was refused, and the undo of `a` is under way."""
    body = sequence(step("a", undo_policy=policy), step("b"))
    story = Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").succeeds("a", done("a", "m"))
    return story.sends("b").refuses("b").undoes("a", covers=(1,))


def test_an_undo_names_what_it_covers_and_has_an_id_and_deadline_of_its_own() -> None:
    story = failing()
    envelope = story.undo("a").envelope
    assert envelope.id == envelope.idempotency_key == "lab:j1/a/undo/1"
    assert envelope.undoes == ("lab:j1/a/1",)
    assert envelope.deadline_ms == story.now_ms + 15 * 60_000


def test_a_failed_undo_is_tried_again_under_a_new_id_with_the_same_payload() -> None:
    story = failing(retry=Retry(attempts=2, first=SECOND)).undo_fails("a").goes_on().passes(SECOND)
    story.undoes("a", covers=(1,))
    assert story.undo("a").id == "lab:j1/a/undo/2"
    assert story.undo("a").message == story.undo("a", 1).message
    story.undone("a").emitted(Told)
    story.ends("compensated")


def test_an_undo_of_unknown_effect_is_tried_again() -> None:
    failing(retry=Retry(attempts=2, first=SECOND)).undo_fails("a", effect="unknown", retryable=False).goes_on()


def test_an_undo_past_its_deadline_is_tried_again() -> None:
    story = failing(retry=Retry(attempts=2, first=SECOND))
    story.undo_fails("a", retryable=False, code="deadline-exceeded").passes(SECOND).undoes("a")


def test_an_undo_that_fails_too_often_is_stuck_until_a_person_retries() -> None:
    story = failing(retry=Retry(attempts=2, first=SECOND)).undo_fails("a").passes(SECOND).undoes("a").undo_fails("a")
    story.announces("stuck").is_stuck("a/undo", reason="the undo failed")
    story.operator("retry").announces("resumed").undoes("a", covers=(1,))
    story.undo_fails("a").passes(SECOND).undoes("a").undone("a").emitted(Told)  # with its whole policy again
    story.ends("compensated")


def test_a_stuck_undo_may_be_skipped() -> None:
    story = failing(retry=Retry(attempts=1)).undo_fails("a").is_stuck("a/undo")
    story.operator("skip", "a").emitted(Told)
    story.ends("compensated")


def test_compensate_retries_stuck_undos() -> None:
    failing(retry=Retry(attempts=1)).undo_fails("a").is_stuck("a/undo").operator("compensate").undoes("a")


def test_an_undo_that_fails_for_good_is_stuck_at_once() -> None:
    failing(retry=Retry(attempts=5)).undo_fails("a", retryable=False).is_stuck("a/undo")


def test_a_silent_undo_is_sent_again_and_then_stuck() -> None:
    story = failing(timeout=SECOND * 30, patience=SECOND * 60).passes(30 * SECOND).resends_undo("a")
    story.silent("a/undo").is_stuck("a/undo", reason="silent")
    story.undone("a").announces("resumed", "compensated").emitted(Told)  # it was only slow
    story.ends("compensated")


def test_the_success_of_an_earlier_attempt_finishes_the_undo() -> None:
    story = failing(retry=Retry(attempts=3, first=SECOND)).undo_fails("a").passes(SECOND).undoes("a")
    story.undone("a", number=1).emitted(Told)
    story.ends("compensated").undone("a", number=2).ignored("duplicate")


def test_the_failure_of_an_earlier_attempt_decides_nothing() -> None:
    story = failing(retry=Retry(attempts=3, first=SECOND)).undo_fails("a").passes(SECOND).undoes("a")
    story.undo_fails("a", number=1, retryable=False).ignored("duplicate").goes_on()


def test_answers_to_undos_may_come_twice() -> None:
    story = failing().undone("a")
    story.emitted(Told)
    story.repeats().ignored("duplicate").undo_fails("a").ignored("duplicate")


def test_a_late_success_while_the_undo_is_stuck_is_undone_after_it() -> None:
    body = step("a", undo_policy={"retry": Retry(attempts=1)})
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").silent("a").undoes("a").undo_fails("a").is_stuck("a/undo")
    story.late("a", done("a", "m")).operator("retry").undoes("a").undone("a").undoes("a", covers=(1,))
    story.undone("a").ends("compensated")


def test_a_late_success_after_the_end_whose_undo_fails_makes_the_ended_process_stuck() -> None:
    body = step("a", undo_policy={"retry": Retry(attempts=1)})
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").silent("a").undoes("a").undone("a").ends("compensated")
    story.late("a").announces().undoes("a").undo_fails("a").announces("stuck").is_stuck("a/undo")
    story.operator("retry").announces("resumed").undoes("a").undone("a").announces().ends("compensated")


def refusable(begun: Begun) -> Do:
    """An undo that may be refused: `verify` does not let it pass, but a participant may do so anyway."""
    return Do(job_id=begun.job_id, step="revert")


def test_a_refused_undo_is_stuck_at_once() -> None:
    body = sequence(command(refusable, name="a", undo=refusable), step("b"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("b").refuses("b").undoes("a")
    story.answers("lab:j1/a/undo/1", Refused(job_id="j1", step="a")).is_stuck("a/undo", reason="it was refused")
    story.operator("skip", number=2).ignored("stale").operator("retry", "a", number=1).undoes("a")


# Debts.


def test_a_surplus_undo_goes_on_past_the_pivot_and_holds_up_the_end() -> None:
    story = Story(lab_saga(sequence(step("a", retry=Retry(first=SECOND)), pivot(), told("news")))).starts(BEGUN)
    story.sends("a").fails("a").passes(SECOND).sends("a").succeeds("a", number=1).undoes("a", covers=(2,))
    story.emitted(Told)
    story.goes_on().undone("a").ends("completed")


def test_a_stuck_surplus_undo_does_not_hold_up_the_next_steps_but_the_end() -> None:
    one = step("a", retry=Retry(first=SECOND), undo_policy={"retry": Retry(attempts=1)})
    story = Story(lab_saga(sequence(one, pivot(), step("b")))).starts(BEGUN)
    story.sends("a").fails("a").passes(SECOND).sends("a").succeeds("a", number=1).undoes("a").sends("b")
    story.undo_fails("a").is_stuck("a/undo").operator("compensate").ignored("past-pivot")
    story.succeeds("b").is_stuck("a/undo").operator("skip").announces("resumed", "completed").ends("completed")


def test_a_debt_of_the_step_is_part_of_its_undo() -> None:
    story = Story(lab_saga(sequence(step("a", retry=Retry(first=SECOND)), step("b")))).starts(BEGUN).sends("a")
    story.fails("a").passes(SECOND).sends("a").succeeds("a", number=1).undoes("a", covers=(2,)).sends("b")
    story.refuses("b").undoes("a", covers=(1,)).undone("a", number=2).goes_on()
    story.undone("a", number=1).ends("compensated")


def test_the_cancelled_flow_begins_when_all_is_undone_and_its_failures_need_a_person() -> None:
    after = sequence(step("apologise", undo=False, retry=Retry(attempts=1)), told_ending())
    story = Story(lab_saga(sequence(step("a"), step("b")), cancelled=after)).starts(BEGUN).sends("a").succeeds("a")
    story.sends("b").refuses("b").undoes("a").undone("a").sends("apologise").goes_on()
    story.fails("apologise").announces("stuck").is_stuck("apologise", reason="failed")
    story.operator("retry").announces("resumed").sends("apologise").succeeds("apologise").emitted(Told)
    story.announces("compensated").ends("compensated")


def test_a_late_success_during_the_cancelled_flow_is_undone_before_the_end() -> None:
    after = step("apologise", undo=False)
    story = Story(lab_saga(step("a"), cancelled=after)).starts(BEGUN).sends("a").silent("a").undoes("a").undone("a")
    story.sends("apologise").late("a").undoes("a").succeeds("apologise").goes_on().undone("a").ends("compensated")
