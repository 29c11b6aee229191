"""What a person may do about a stuck process, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.envelope import Envelope
from contracts.process import OperatorAction
from orchestrator.engine import operator
from orchestrator.engine.history import decode_entry
from orchestrator.language import Retry, parallel, pivot, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, Refused, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
SECOND = timedelta(seconds=1)
ONCE = Retry(attempts=1)


def done(name: str, mark: str = "") -> Done:
    return Done(job_id="j1", step=name, mark=mark)


def past_pivot(**options: Any) -> Story:
    """The pivot is passed, and `p` is awaited; `q` demands its outcome."""
    body = sequence(step("a"), pivot(), step("p", undo=False, **options), step("q", undo=False, needs="p"))
    story = Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").succeeds("a")
    return story.sends("p")


# After the pivot: failure and silence end in stuck.


def test_a_failure_after_the_pivot_is_stuck_and_a_retry_is_a_new_try() -> None:
    story = past_pivot(retry=ONCE).fails("p").announces("stuck").is_stuck("p", reason="failed")
    story.operator("retry").announces("resumed").sends("p")
    assert story.command("p").id == "lab:j1/p/2"
    story.succeeds("p", done("p", "m")).sends("q").succeeds("q").ends("completed")
    assert story.command("q").message == Do(job_id="j1", step="q", saw="m")


def test_an_operators_retry_has_the_whole_retry_policy_again() -> None:
    story = past_pivot(retry=Retry(attempts=2, first=SECOND)).fails("p").passes(SECOND).sends("p").fails("p")
    story.is_stuck("p").operator("retry").sends("p").fails("p").passes(SECOND).sends("p").fails("p").is_stuck("p")


def test_a_refusal_after_the_pivot_is_stuck() -> None:
    past_pivot().refuses("p").is_stuck("p", reason="refused").operator("retry").sends("p").succeeds("p").sends("q")


def test_silence_after_the_pivot_is_stuck_and_a_retry_asks_the_same_try_again() -> None:
    story = past_pivot().silent("p").is_stuck("p", reason="silent")
    story.operator("retry").announces("resumed").resends("p").goes_on()
    story.passes(30 * SECOND).resends("p").succeeds("p").sends("q")


def test_when_the_asked_again_try_had_no_effect_a_new_one_follows_at_once() -> None:
    story = past_pivot(retry=ONCE).silent("p").operator("retry").resends("p")
    story.fails("p", effect="none", retryable=False).sends("p")
    assert story.command("p").id == "lab:j1/p/2"
    story.fails("p", effect="none", retryable=False).is_stuck("p", reason="failed")


def test_when_the_asked_again_try_was_refused_that_is_final() -> None:
    past_pivot().silent("p").operator("retry").resends("p").refuses("p").is_stuck("p", reason="refused")


def test_when_the_asked_again_try_stays_silent_it_is_stuck_again() -> None:
    story = past_pivot().silent("p").operator("retry").resends("p").silent("p").announces("stuck")
    story.is_stuck("p", reason="silent")


def test_an_unknown_effect_after_the_pivot_is_stuck_and_executing_again_is_the_persons_decision() -> None:
    story = past_pivot().fails("p", effect="unknown").is_stuck("p", reason="failed").operator("retry").sends("p")
    assert story.command("p").id == "lab:j1/p/2"
    story.succeeds("p").sends("q").late("p", number=1).alerts("surplus-success")
    story.is_stuck("p/undo", reason="surplus-success-without-undo")
    story.operator("retry").ignored("nothing-to-retry").operator("skip").goes_on().succeeds("q").ends("completed")


def test_the_surplus_of_a_step_after_the_pivot_that_has_an_undo_is_undone() -> None:
    body = sequence(step("a"), pivot(), step("p"), step("q"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("p").fails("p", effect="unknown")
    story.is_stuck("p").operator("retry").sends("p").succeeds("p", done("p", "m2")).undoes("p", covers=(1,)).sends("q")
    story.late("p", done("p", "m1"), number=1).undone("p").undoes("p", covers=(1,)).undone("p")
    story.succeeds("q").ends("completed")


def test_a_late_success_takes_a_process_out_of_stuck() -> None:
    story = past_pivot().silent("p").is_stuck("p").late("p").announces("resumed").sends("q").goes_on()
    story.succeeds("q").ends("completed")


def test_no_effect_after_silence_makes_a_new_try_after_the_pivot() -> None:
    story = past_pivot(retry=Retry(first=SECOND)).silent("p").is_stuck("p")
    story.fails("p", effect="none").announces("resumed").passes(SECOND).sends("p").succeeds("p").sends("q")


def test_in_a_parallel_after_the_pivot_the_others_go_on() -> None:
    body = sequence(pivot(), parallel(step("a", retry=ONCE), sequence(step("b"), step("c"))))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a", "b").fails("a").is_stuck("a").succeeds("b").sends("c")
    story.fails("c", retryable=False).announces("stuck").is_stuck("a", "c").operator("retry").ignored("ambiguous-step")
    story.operator("retry", "a").sends("a").announces().is_stuck("c").succeeds("a")
    story.operator("skip", "c").announces("resumed", "completed").ends("completed")


def test_an_unknown_effect_after_silence_leaves_it_to_the_person_to_execute_again() -> None:
    story = past_pivot().silent("p").fails("p", effect="unknown").is_stuck("p", reason="silent")
    story.operator("retry").sends("p")
    assert story.command("p").id == "lab:j1/p/2"


def test_what_a_list_of_processes_shows() -> None:
    story = past_pivot().silent("p")
    assert (story.process.step, story.process.reason) == ("p", "silent")
    assert (story.operator("retry").resends("p").process.step, story.process.reason) == (None, None)
    ended = Story(lab_saga(step("a"))).starts(BEGUN).sends("a").refuses("a").process
    assert (ended.step, ended.reason) == ("a", "refused")


# Skip.


def test_to_skip_a_step_that_a_later_one_needs_its_outcome_must_be_given() -> None:
    story = past_pivot().silent("p").operator("skip").ignored("outcome-needed").is_stuck("p")
    story.operator("skip", outcome={"job_id": "j1"}).ignored("outcome-invalid")
    story.operator("skip", outcome=Refused(job_id="j1", step="p")).ignored("outcome-invalid")
    story.operator("skip", outcome=done("p", "by hand")).announces("resumed").sends("q")
    assert story.command("q").message == Do(job_id="j1", step="q", saw="by hand")
    story.succeeds("q").ends("completed")


def test_a_step_that_nobody_needs_is_skipped_without_an_outcome() -> None:
    story = (
        past_pivot().succeeds("p").sends("q").silent("q").operator("skip", number=1).announces("resumed", "completed")
    )
    story.ends("completed")


def test_a_success_after_its_step_was_skipped_is_undone_also_past_the_pivot() -> None:
    story = Story(lab_saga(sequence(pivot(), step("p"), step("q")))).starts(BEGUN).sends("p").silent("p")
    story.operator("skip").sends("q").late("p", done("p", "m")).undoes("p", covers=(1,)).succeeds("q").goes_on()
    story.undone("p").ends("completed")


def test_an_emit_whose_builder_fails_may_be_skipped_or_retried() -> None:
    saga = lab_saga(sequence(pivot(), told("news", raises=RuntimeError("not today"))))
    story = Story(saga).starts(BEGUN).announces("started", "stuck").is_stuck("news", reason="RuntimeError: not today")
    story.operator("retry").announces().is_stuck("news").operator("skip").announces("resumed", "completed")
    story.ends("completed")
    story = Story(saga).starts(BEGUN).is_stuck("news").deploys(lab_saga(sequence(pivot(), told("news"))))
    story.operator("retry").emitted(Told)
    story.ends("completed")


def test_what_a_person_has_done_by_hand_a_person_must_undo() -> None:
    body = sequence(step("a", raises=ValueError()), step("b", needs="a"))
    story = Story(lab_saga(body)).starts(BEGUN).is_stuck("a").operator("skip").ignored("outcome-needed")
    story.operator("skip", outcome=done("a", "by hand")).sends("b").refuses("b")
    story.is_stuck("a/undo", reason="done-by-hand").operator("retry").ignored("nothing-to-retry")
    story.operator("skip").ends("compensated")


# Compensate.


def test_compensate_before_the_pivot_undoes_everything_and_the_process_is_cancelled() -> None:
    body = sequence(step("a"), step("b", raises=RuntimeError("not today")), pivot())
    story = Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").succeeds("a")
    story.announces("stuck").is_stuck("b", reason="RuntimeError")
    story.operator("compensate", note="the customer has called").undoes("a").announces("resumed", "compensating")
    story.undone("a")
    over = story.emitted(Told)
    assert (over.reason, over.step) == ("operator", None)
    story.announces("cancelled").ends("cancelled")


def test_compensate_after_the_end_only_retries_the_undo_that_is_stuck() -> None:
    body = step("a", retry=Retry(first=SECOND), undo_policy={"retry": ONCE})
    story = Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").fails("a").passes(SECOND)
    story.sends("a").succeeds("a").ends("completed").late("a", number=1).undoes("a", covers=(1,)).undo_fails("a")
    story.is_stuck("a/undo").operator("compensate").undoes("a", covers=(1,)).undone("a").ends("completed")


def test_compensate_after_the_pivot_is_refused() -> None:
    past_pivot().silent("p").operator("compensate").ignored("past-pivot").is_stuck("p")


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_a_perhaps_done_irreversible_step_is_asked_again_and_never_executed_again_while_undoing(action: str) -> None:
    story = Story(lab_saga(step("a", undo=False, irreversible=True))).starts(BEGUN).sends("a")
    story.fails("a", effect="unknown").is_stuck("a", reason="perhaps-done-irreversible")
    story.operator(action).resends("a")  # type: ignore[arg-type]
    story.fails("a", effect="unknown").is_stuck("a").operator("retry").resends("a")
    story.silent("a").is_stuck("a")
    story.operator("skip").ends("compensated")


# What is refused.


def test_an_action_on_what_a_person_no_longer_sees_is_stale() -> None:
    story = past_pivot().silent("p")
    seen = story.process.revision
    story.operator("retry", revision=seen).resends("p")
    story.repeats().ignored("stale").silent("p").operator("retry", revision=seen).ignored("stale")
    story.operator("retry", revision=story.process.revision + 1).ignored("stale")
    story.operator("skip", number=2).ignored("stale")
    assert story.process.revision == story.fed[-1].before.revision  # type: ignore[union-attr]


def test_an_action_on_a_process_or_a_step_that_is_not_stuck_is_refused() -> None:
    story = past_pivot().operator("retry").ignored("not-stuck").operator("compensate").ignored("not-stuck")
    story.silent("p").operator("retry", "a").ignored("not-stuck").operator("skip", "zzz").ignored("not-stuck")
    story.operator("skip", "p/undo").ignored("not-stuck").is_stuck("p")


def test_a_malformed_action_is_refused() -> None:
    story = past_pivot().silent("p")
    envelope = Envelope(id="x", source="/test", type=OperatorAction.type, process_id="lab:j1")
    story.receives(envelope, b'{"action":"destroy"}').ignored("invalid-payload").receives(envelope, b"").ignored(
        "invalid-payload"
    )


def test_who_did_what_and_why_is_in_the_history() -> None:
    story = past_pivot(retry=ONCE).fails("p").operator("retry", note="the provider is back").sends("p")
    history = story.last.decision.history
    assert history is not None
    assert decode_entry(history).notes[0] == "ann asked for retry (the provider is back)"


def test_a_settled_irreversible_step_in_doubt_is_not_executed_again() -> None:
    """Its second try is perhaps done too, when its first success has settled it: found by seed 16618."""
    one = step("a", undo=False, irreversible=True, retry=Retry(attempts=2, first=SECOND))
    story = Story(lab_saga(sequence(one, step("b")))).starts(BEGUN).sends("a").fails("a").passes(SECOND).sends("a")
    story.succeeds("a", number=1).sends("b").fails("a", effect="unknown", number=2).refuses("b")
    story.is_stuck("a", reason="perhaps-done-irreversible").operator("retry").ignored("nothing-to-retry")
    story.operator("compensate").ignored("nothing-to-retry").operator("skip").ends("compensated")


def test_who_retries_for_ever_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "TRIES_MAX", 3)
    story = past_pivot().fails("p", effect="unknown").is_stuck("p")
    for _ in range(2):
        story.operator("retry").sends("p").fails("p", effect="unknown")
    story.operator("retry").ignored("nothing-to-retry")
    story.operator("retry", "p", correction={"job_id": "j1", "step": "p"}).ignored("nothing-to-retry")
    assert len(story.process.steps["p"].tries) == 3
    story.operator("skip", outcome=done("p")).sends("q").succeeds("q").ends("completed")
