"""A step: its tries, and what each answer to them, or none, makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.message import Event
from orchestrator.language import Retry, parallel, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, DoneElse, Refused, Revert, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
NO_RETRY = Retry(attempts=1)


def done(name: str, mark: str = "") -> Done:
    return Done(job_id="j1", step=name, mark=mark)


def one(**options: Any) -> Story:
    """A saga of one step `a`, and word of it."""
    return Story(lab_saga(sequence(step("a", **options), told("news")), cancelled=told_ending())).starts(BEGUN)


def ended(story: Story, reason: str, at: str | None = "a") -> None:
    over = story.emitted(Told)
    assert (over.reason, over.step) == (reason, at)
    story.ends("compensated")


def test_success_leads_on_to_the_next_block() -> None:
    story = one().sends("a").succeeds("a")
    assert story.emitted(Told).name == "news"
    story.ends("completed")


def test_any_success_that_the_contract_names_is_one() -> None:
    one().sends("a").succeeds("a", DoneElse(job_id="j1", step="a")).emitted(Told)


def test_the_command_names_process_cause_key_try_and_deadline() -> None:
    story = one(patience=timedelta(minutes=2)).sends("a")
    envelope = story.command("a").envelope
    assert (envelope.id, envelope.idempotency_key, envelope.process_id) == ("lab:j1/a/1", "lab:j1/a/1", "lab:j1")
    assert (envelope.causation_id, envelope.try_number, envelope.undoes) == ("start", 1, ())
    assert envelope.deadline_ms == story.process.started_at_ms + 120_000
    assert story.command("a").record.topic == "lab.commands"
    assert story.command("a").record.key == b"j1"


# Refusal.


def test_a_refusal_is_final_and_there_is_nothing_to_undo() -> None:
    ended(one().sends("a").refuses("a"), "refused")


def test_a_refusal_that_the_policy_names_is_tried_again() -> None:
    story = one(retry=Retry(attempts=2, on=(Refused,))).sends("a").refuses("a").goes_on()
    story.passes(SECOND).sends("a")
    ended(story.refuses("a"), "refused")


def test_after_a_refusal_and_a_success_only_the_success_is_captured() -> None:
    story = one(retry=Retry(attempts=2, on=(Refused,))).sends("a").refuses("a").passes(SECOND).sends("a")
    story.succeeds("a").emitted(Told)
    assert story.process.steps["a"].refusal is None
    assert story.process.steps["a"].outcome is not None


def test_a_refusal_of_a_try_that_does_not_decide_is_not_captured() -> None:
    story = one(retry=Retry(attempts=2, first=SECOND)).sends("a").fails("a").passes(SECOND).sends("a")
    story.succeeds("a", number=1).undoes("a", covers=(2,)).emitted(Told)
    story.refuses("a", number=2)
    assert story.process.steps["a"].refusal is None
    story.undone("a").ends("completed")


# Failure without effect.


def test_a_failure_without_effect_is_tried_again_under_a_new_key() -> None:
    story = one(retry=Retry(attempts=3, first=SECOND, factor=3)).sends("a")
    story.fails("a", effect="none").passes(SECOND - timedelta(milliseconds=1)).goes_on()
    story.passes(timedelta(milliseconds=1)).sends("a")
    story.fails("a", effect="none").passes(2 * SECOND).goes_on().passes(SECOND).sends("a")
    assert [story.command("a", n).envelope.idempotency_key for n in (1, 2, 3)] == [f"lab:j1/a/{n}" for n in (1, 2, 3)]
    assert story.command("a", 3).envelope.deadline_ms == story.now_ms + 15 * 60_000
    ended(story.fails("a", effect="none"), "failed")


def test_a_failure_that_is_not_retryable_is_not_tried_again() -> None:
    ended(one().sends("a").fails("a", effect="none", retryable=False), "failed")


def test_a_refusal_by_deadline_fails_the_step() -> None:
    ended(one().sends("a").fails("a", retryable=False, code="deadline-exceeded"), "failed")


# Silence.


def test_silence_is_no_failure_the_same_try_is_sent_again() -> None:
    story = one(timeout=10 * SECOND, patience=MINUTE).sends("a")
    for _ in range(5):
        story.passes(10 * SECOND).resends("a")
    assert len(story.process.steps["a"].tries) == 1
    story.succeeds("a").emitted(Told)
    story.ends("completed")


def test_when_patience_ends_the_step_is_perhaps_done_and_undone() -> None:
    story = one(timeout=40 * SECOND, patience=MINUTE).sends("a").passes(40 * SECOND).resends("a")
    story.passes(20 * SECOND - timedelta(milliseconds=1)).goes_on()
    story.passes(timedelta(milliseconds=1)).undoes("a", covers=(1,))
    assert story.undo("a").message == Revert(job_id="j1", step="a")
    ended(story.undone("a"), "silent")


def test_patience_counts_from_the_first_send_of_each_try() -> None:
    story = one(timeout=MINUTE, patience=MINUTE).sends("a").passes(50 * SECOND).fails("a").passes(SECOND).sends("a")
    story.passes(59 * SECOND).goes_on().passes(SECOND).undoes("a", covers=(2,))


def test_a_clock_that_was_away_does_not_prolong_the_patience() -> None:
    story = one(timeout=10 * SECOND, patience=MINUTE).sends("a")
    story.without_clock(timedelta(minutes=5)).timer_fires("a/silence").undoes("a", covers=(1,))


def test_an_unknown_effect_ends_the_patience_at_once_and_makes_no_new_try() -> None:
    story = one(retry=Retry(attempts=5)).sends("a").fails("a", effect="unknown", retryable=True)
    ended(story.undoes("a", covers=(1,)).undone("a"), "failed")


# Late, surplus and contradictory answers.


def test_a_success_after_its_undo_is_undone_once_more_also_after_the_end() -> None:
    story = one().sends("a").silent("a").undoes("a").undone("a")
    ended(story, "silent")
    story.late("a", done("a", "m1")).undoes("a", covers=(1,))
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark="m1")
    assert story.process.phase == "compensated"
    story.undone("a").announces().ends("compensated")
    assert story.process.timers == {}


def test_a_success_during_its_undo_gets_one_more_when_that_has_finished() -> None:
    story = one().sends("a").silent("a").undoes("a")
    story.late("a", done("a", "m1")).goes_on()
    story.undone("a").undoes("a", covers=(1,))
    assert story.undo("a").id == "lab:j1/a/undo/2"
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark="m1")
    ended(story.undone("a"), "silent")


def test_a_success_while_the_process_waits_to_undo_the_step_is_undone() -> None:
    story = Story(lab_saga(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b")
    story.refuses("b").goes_on()
    story.succeeds("a", done("a", "m")).undoes("a", covers=(1,))
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark="m")
    story.undone("a").ends("compensated")


def test_a_success_of_another_try_is_surplus_and_undone_by_its_own_id() -> None:
    story = one(retry=Retry(first=SECOND)).sends("a").fails("a").passes(SECOND).sends("a")
    story.succeeds("a", done("a", "m2"), number=2).emitted(Told)
    story.ends("completed").late("a", done("a", "m1"), number=1).undoes("a", covers=(1,))
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark="m1")
    story.undone("a").ends("completed")


def test_the_first_success_of_any_try_settles_and_what_is_still_awaited_is_undone() -> None:
    story = one(retry=Retry(first=SECOND)).sends("a").fails("a").passes(SECOND).sends("a")
    story.succeeds("a", done("a", "m1"), number=1).undoes("a", covers=(2,)).emitted(Told)
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark=None)
    assert story.process.phase == "running"  # it does not end with an open debt
    story.undone("a").announces("completed").ends("completed")


def test_a_success_of_an_older_try_while_undoing_leaves_no_awaited_try_uncovered() -> None:
    story = Story(lab_saga(parallel(step("a", retry=Retry(first=SECOND)), step("b")))).starts(BEGUN).sends("a", "b")
    story.fails("a").passes(SECOND).sends("a").refuses("b").goes_on()
    story.succeeds("a", done("a", "m1"), number=1).undoes("a", "a")  # try 2 may have had an effect as well
    assert story.undo("a", 1).envelope.undoes == ("lab:j1/a/2",)
    assert story.undo("a", 1).message == Revert(job_id="j1", step="a", mark=None)
    assert story.undo("a", 2).envelope.undoes == ("lab:j1/a/1",)
    assert story.undo("a", 2).message == Revert(job_id="j1", step="a", mark="m1")
    story.undone("a", number=1).undone("a", number=2).ends("compensated")


def test_a_success_during_the_back_off_settles_and_no_new_try_is_made() -> None:
    story = one(retry=Retry(first=MINUTE)).sends("a").fails("a")
    story.succeeds("a", number=1).emitted(Told)
    story.ends("completed")


@pytest.mark.parametrize("effect", ["none", "unknown"])
def test_success_wins_over_a_failure_of_the_same_try(effect: str) -> None:
    story = one().sends("a").succeeds("a")
    story.emitted(Told)
    story.ends("completed").fails("a", effect=effect).ignored("contradicted").refuses("a").ignored("contradicted")  # type: ignore[arg-type]


def test_no_effect_after_silence_clears_perhaps_done() -> None:
    story = Story(lab_saga(sequence(step("a", undo=False, irreversible=True), step("b")))).starts(BEGUN).sends("a")
    story.silent("a").is_stuck("a", reason="perhaps-done-irreversible").announces("compensating", "stuck")
    story.fails("a", effect="none").announces("resumed", "compensated").ends("compensated")


def test_no_effect_after_silence_leaves_the_undo_that_is_under_way() -> None:
    story = one().sends("a").silent("a").undoes("a").fails("a", effect="none").goes_on()
    ended(story.undone("a"), "silent")


def test_a_failure_after_none_is_a_duplicate_but_a_success_is_not() -> None:
    story = one(retry=Retry(first=MINUTE)).sends("a").fails("a").fails("a", effect="unknown").ignored("duplicate")
    story.refuses("a").ignored("duplicate").succeeds("a").emitted(Told)


def test_a_failure_of_an_older_try_decides_nothing() -> None:
    story = Story(lab_saga(step("a", retry=Retry(attempts=5, first=SECOND)))).starts(BEGUN).sends("a")
    story.fails("a").passes(SECOND).sends("a").fails("a", number=1, effect="unknown").ignored("duplicate")
    story.refuses("a", number=1).ignored("duplicate").goes_on().succeeds("a").ends("completed")


# Repeats.


@pytest.mark.parametrize("kind", ["success", "refusal", "none", "unknown"])
def test_every_answer_may_come_twice(kind: str) -> None:
    story = one(retry=NO_RETRY).sends("a")
    if kind == "success":
        story.succeeds("a").emitted(Told)
    elif kind == "refusal":
        story.refuses("a").emitted(Told)
    elif kind == "none":
        story.fails("a", effect="none").emitted(Told)
    else:
        story.fails("a", effect="unknown").undoes("a")
    story.repeats().ignored("duplicate")


def test_a_success_with_another_payload_for_a_settled_try_is_a_duplicate() -> None:
    story = one().sends("a").succeeds("a", done("a", "m1"))
    story.emitted(Told)
    story.succeeds("a", done("a", "m2")).ignored("duplicate")
    outcome = story.process.steps["a"].outcome
    assert outcome is not None and b"m1" in outcome.data


# What is no answer.


def begun_event() -> Event:
    return Begun(job_id="j1")


@pytest.mark.parametrize(
    "causation",
    ["lab:j1/a/2", "lab:j1/a/0", "lab:j1/a/01", "lab:j1/a/1/", "lab:j1/a/undo/1", "lab:j1/news/1", "lab:j1/#0/1",
     "lab:j1/zzz/1", "lab:j2/a/1", "lab:j1/a/٣", "lab:j1/a/", "lab:j1/a", "a/1", "lab:j1/a/9999999999"],
)  # fmt: skip
def test_an_answer_to_what_was_never_asked_is_not_awaited(causation: str) -> None:
    one().sends("a").answers(causation, done("a")).ignored("not-awaited").goes_on()


def test_an_event_that_the_contract_does_not_name_is_no_outcome() -> None:
    one().sends("a").answers("lab:j1/a/1", begun_event()).ignored("not-an-outcome").goes_on()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"not json", b'{"job_id":"a b","step":"a"}', b"\xff", b"null"])
def test_an_answer_against_its_contract_is_ignored(data: bytes) -> None:
    one().sends("a").answers("lab:j1/a/1", done("a"), data=data).ignored("invalid-payload").succeeds("a").emitted(Told)


def test_a_step_gets_the_outcome_of_an_earlier_one() -> None:
    story = Story(lab_saga(sequence(step("a"), step("b", needs="a")))).starts(BEGUN).sends("a")
    story.succeeds("a", done("a", "m1")).sends("b")
    assert story.command("b").message == Do(job_id="j1", step="b", saw="m1")
