"""`on_failure="hold"`, corrections, and calling a process off."""

from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.envelope import Envelope
from contracts.message import Event, Identifier
from contracts.process import CancelRequested
from orchestrator.engine.history import decode_entry
from orchestrator.language import Retry, Saga, SagaError, fallback, observe, parallel, pivot, sequence
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Told, lab_saga, step, told_ending

BEGUN = Begun(job_id="j1")
ONCE = Retry(attempts=1)
CORRECTED = {"job_id": "j1", "step": "b", "note": "mended"}


class Withdrawn(Event, type="lab.withdrawn.v1"):
    job_id: Identifier


def started(*blocks: Block, deadline: timedelta | None = None) -> Story:
    return Story(lab_saga(sequence(*blocks), cancelled=told_ending(), deadline=deadline)).starts(BEGUN)


def holding(deadline: timedelta | None = None) -> Story:
    blocks = (step("a"), step("b", on_failure="hold", retry=ONCE), step("c"))
    return started(*blocks, deadline=deadline).sends("a").succeeds("a").sends("b")


def ended(story: Story, phase: str, reason: str) -> None:
    assert story.emitted(Told).reason == reason
    assert story.process.phase == phase


# Hold.


def test_a_failed_step_stays_and_what_succeeded_is_kept() -> None:
    story = holding().fails("b").is_stuck("b", reason="held: failed").announces("stuck")
    story.operator("retry").sends("b").succeeds("b").sends("c").succeeds("c").ends("completed")
    assert story.process.steps["a"].status == "succeeded"


def test_a_refused_step_stays_too() -> None:
    holding().refuses("b").is_stuck("b", reason="held: refused").operator("skip").sends("c")


def test_a_perhaps_done_step_stays_and_a_retry_sends_the_same_try() -> None:
    story = holding().silent("b").is_stuck("b", reason="held: no answer")
    story.operator("retry").resends("b").succeeds("b").sends("c")


def test_a_late_success_ends_the_hold() -> None:
    holding().silent("b").is_stuck("b").succeeds("b").sends("c").goes_on()


def test_compensate_gives_a_held_process_up() -> None:
    story = holding().fails("b").operator("compensate").undoes("a").undone("a")
    ended(story, "cancelled", "operator")


def test_a_held_step_that_is_perhaps_done_is_undone_with_the_rest() -> None:
    story = (
        holding().fails("b", effect="unknown").operator("compensate").undoes("b").undone("b").undoes("a").undone("a")
    )
    ended(story, "cancelled", "operator")


def test_the_deadline_and_a_cancellation_do_not_wait_for_a_person() -> None:
    story = holding(timedelta(hours=1)).fails("b").waits_until("deadline").is_stuck().undoes("a").undone("a")
    ended(story, "cancelled", "deadline")
    story = holding().fails("b").cancels().is_stuck().undoes("a").undone("a")
    ended(story, "cancelled", "operator")


def test_a_failure_beside_a_held_step_gives_it_up() -> None:
    story = started(parallel(step("a", on_failure="hold", retry=ONCE), step("b"))).sends("a", "b").fails("a")
    story.is_stuck("a").refuses("b").is_stuck()
    ended(story, "compensated", "refused")


def test_a_held_alternative_of_a_fallback_is_not_given_up() -> None:
    story = started(fallback(step("a", on_failure="hold", retry=ONCE), step("b"))).sends("a").fails("a")
    story.is_stuck("a").operator("retry").sends("a").succeeds("a").ends("completed")


# Corrections.


def test_a_retry_may_carry_a_corrected_payload() -> None:
    story = holding().refuses("b").operator("retry", correction=CORRECTED, note="the address was wrong").sends("b")
    assert story.command("b").message == Do(job_id="j1", step="b", note="mended")
    assert story.command("b").id == "lab:j1/b/2"
    entry = decode_entry(story.last.decision.history or b"")
    assert entry.notes[0] == "ann asked for retry with a correction (the address was wrong)"
    assert b'"note":"mended"' in entry.data
    story.succeeds("b").sends("c").succeeds("c").ends("completed")
    assert len(story.process.steps["a"].tries) == 1


def test_a_correction_is_kept_for_later_tries() -> None:
    twice = step("b", on_failure="hold", retry=Retry(attempts=2))
    story = started(twice).sends("b").refuses("b").operator("retry", correction=CORRECTED).sends("b").fails("b")
    story.waits_until("b/retry").sends("b")
    assert story.command("b").message == Do(job_id="j1", step="b", note="mended")


def test_a_correction_mends_a_step_whose_builder_failed() -> None:
    story = started(step("b", raises=ValueError("oh"))).is_stuck("b")
    story.operator("retry", correction=CORRECTED).sends("b").succeeds("b").ends("completed")


def test_what_was_perhaps_done_before_the_correction_is_undone_by_its_own_id() -> None:
    story = holding().fails("b", effect="unknown").operator("retry", correction=CORRECTED).sends("b")
    story.succeeds("b").undoes("b", covers=(1,)).sends("c")


@pytest.mark.parametrize("wrong", [{}, {"job_id": "a:b", "step": "b"}, {"job_id": "j1"}])
def test_a_correction_against_the_contract_is_ignored(wrong: dict[str, object]) -> None:
    story = holding().fails("b").operator("retry", correction=wrong).ignored("correction-invalid")
    story.is_stuck("b")


def test_silence_is_not_corrected() -> None:
    holding().silent("b").operator("retry", correction=CORRECTED).ignored("not-correctable").is_stuck("b")


def test_an_undo_is_not_corrected() -> None:
    story = holding().fails("b").operator("compensate").undoes("a").undo_fails("a", retryable=False).is_stuck("a/undo")
    story.operator("retry", "a/undo", correction=CORRECTED).ignored("not-correctable")


def test_what_is_no_step_is_not_corrected() -> None:
    arrival = observe(Withdrawn, key=lambda event: event.job_id, limit=timedelta(days=1))
    story = started(pivot(), arrival).waits_until("Withdrawn/limit").is_stuck("Withdrawn")
    story.operator("retry", correction=CORRECTED).ignored("not-correctable")


# Cancellation by an operator.


def test_a_running_process_is_undone_and_ends_cancelled() -> None:
    story = started(step("a"), step("b")).sends("a").succeeds("a").sends("b").cancels().announces("compensating")
    assert decode_entry(story.last.decision.history or b"").notes[0] == "ann asked for cancellation"
    story.succeeds("b").undoes("b").undone("b").undoes("a").undone("a")
    ended(story, "cancelled", "operator")


def test_what_is_being_undone_or_has_ended_is_not_cancelled() -> None:
    story = started(step("a"), step("b")).sends("a").succeeds("a").sends("b").refuses("b").undoes("a")
    story.cancels().ignored("already-ending").undone("a")
    ended(story, "compensated", "refused")
    story.cancels().ignored("already-ending")


def test_past_the_pivot_nothing_is_cancelled() -> None:
    started(pivot(), step("p")).sends("p").cancels().ignored("past-pivot").succeeds("p").ends("completed")


def test_a_cancellation_that_comes_twice_counts_once() -> None:
    story = started(step("a")).sends("a").cancels().repeats().ignored("already-ending").succeeds("a").undoes("a")
    story.undone("a")
    ended(story, "cancelled", "operator")


def test_a_malformed_cancellation_is_ignored() -> None:
    story = started(step("a")).sends("a")
    story.receives(Envelope(id="x", source="/x", type=CancelRequested.type), b"{}").ignored("invalid-payload")


# Cancellation by an event.


def revocable(*blocks: Block) -> Saga:
    saga = lab_saga(sequence(*blocks), cancelled=told_ending())
    return replace(saga, cancelled_by=(Withdrawn, lambda event: event.job_id))


def test_an_event_calls_the_process_off() -> None:
    story = Story(revocable(step("a"), step("b"))).starts(BEGUN).sends("a").succeeds("a").sends("b")
    story.happens(Withdrawn(job_id="j1")).announces("compensating").repeats().ignored("duplicate")
    story.succeeds("b").undoes("b").undone("b").undoes("a").undone("a")
    ended(story, "cancelled", "operator")
    story.happens(Withdrawn(job_id="j1"), id="e2").ignored("already-ending")


def test_past_the_pivot_the_event_is_ignored() -> None:
    story = Story(revocable(pivot(), step("p"))).starts(BEGUN).sends("p")
    story.happens(Withdrawn(job_id="j1")).ignored("past-pivot")


def test_called_off_before_it_started_it_does_nothing() -> None:
    story = Story(revocable(step("a"))).happens(Withdrawn(job_id="j1")).keeps("lab.withdrawn.v1")
    story.starts(BEGUN).announces("started", "compensating", "cancelled")
    ended(story, "cancelled", "operator")


def test_the_router_knows_the_event() -> None:
    (route,) = Story(revocable(step("a"))).book.observes(Withdrawn.type)
    assert (route.saga, route.key(Withdrawn(job_id="j1"))) == ("lab", "j1")


def test_an_event_has_one_meaning_in_a_saga() -> None:
    key = lambda event: event.job_id  # noqa: E731 - as authors write it
    with pytest.raises(SagaError, match="cannot call it off"):
        replace(revocable(step("a")), cancelled_by=(Begun, key))
    with pytest.raises(SagaError, match="waits for what calls"):
        revocable(observe(Withdrawn, key=key, limit=timedelta(days=1)))
