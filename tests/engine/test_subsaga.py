"""A step that is a process of another saga, as its parent sees it: the child is told, and does nothing by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.ids import partition_of
from contracts.process import ChildEnded, StartChild
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.plan import PlanError
from orchestrator.engine.process import decode_process, encode_process
from orchestrator.language import Retry, Saga, choice, fallback, otherwise, parallel, pivot, sequence, subsaga, when
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, Revert, Told, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, pivoted_child
from orchestrator.testkit.lab_flow import each, predicate, rounds

CHILD = child_saga()
SURE = pivoted_child()
BEGUN = Begun(job_id="j1")
RESULT = Done(job_id="j1", step="lab-child", mark="m")


def story(*blocks: Block, **options: Any) -> Story:
    return Story(lab_saga(sequence(*blocks), **options))


# Forward.


def test_a_child_is_started_on_its_own_shard_and_its_result_is_captured() -> None:
    tale = story(child("ship", CHILD), step("bill", needs="ship")).starts(BEGUN).sends("ship")
    sent = tale.command("ship")
    assert (sent.id, sent.record.topic, sent.record.key) == ("lab:j1/ship/1", INBOX, b"lab-child:j1-ship")
    assert sent.record.partition == partition_of("lab-child:j1-ship", SHARDS)
    assert dict(sent.record.headers)["cp_saga"] == b"lab-child" and dict(sent.record.headers)["cp_version"] == b"1"
    assert isinstance(sent.message, StartChild) and sent.message.event == {
        "child_id": "j1-ship",
        "job_id": "j1",
        "note": "",
    }
    assert tale.process.timers == {}
    tale.goes_on().child_ends("ship", result=RESULT).sends("bill")
    assert tale.command("bill").message.model_dump()["saw"] == "m"
    tale.succeeds("bill").releases("ship").ends("completed")


def test_a_child_without_a_result_captures_nothing() -> None:
    plain = child_saga(returns=False)
    story(child("ship", plain)).starts(BEGUN).sends("ship").child_ends("ship").releases("ship").ends("completed")


def test_a_result_that_does_not_fit_any_more_is_loud_where_it_is_wanted() -> None:
    tale = story(child("ship", CHILD), step("bill", needs="ship")).starts(BEGUN).sends("ship")
    tale.child_ends("ship", result=Told(job_id="j1", name="x")).is_stuck("bill", reason="nothing has captured it")


@pytest.mark.parametrize(
    ("phase", "reason", "announced"),
    [("compensated", "refused", "refused"), ("compensated", "silent", "silent"), ("cancelled", "deadline", "failed"),
     ("cancelled", "operator", "failed"), ("not-started", None, "failed")],
)  # fmt: skip
def test_a_child_that_ended_otherwise_is_a_failed_step_with_nothing_to_undo(
    phase: Any, reason: str | None, announced: str
) -> None:
    tale = story(step("a"), child("ship", CHILD), cancelled=told_ending()).starts(BEGUN).sends("a").succeeds("a")
    tale.sends("ship").child_ends("ship", phase, at="c1", reason=reason, detail="no stock").undoes("a").undone("a")
    cause = tale.process.cause
    assert cause is not None and (cause.reason, cause.step) == (announced, "ship")
    assert cause.detail is not None and "lab-child:j1-ship" in cause.detail and "no stock" in cause.detail
    assert tale.emitted(Told).step == "ship"
    tale.releases(*([] if phase == "not-started" else ["ship"])).ends("compensated")


def test_what_another_process_started_is_not_let_go() -> None:
    tale = story(child("ship", CHILD)).starts(BEGUN).sends("ship")
    tale.child_ends("ship", "not-started", detail="it is somebody else's").releases().ends("compensated")


def test_two_children_beside_each_other() -> None:
    tale = story(parallel(child("x", CHILD), child("y", CHILD)), told("both")).starts(BEGUN).sends("x", "y")
    tale.child_ends("y").goes_on().child_ends("x")
    assert tale.emitted(Told).name == "both"
    tale.releases("x", "y").ends("completed")


def test_children_of_a_for_each_have_their_results_in_element_order() -> None:
    body = each(3, child("ship", CHILD, in_each=True), name="every", concurrency=3)
    tale = story(body, step("bill", needs_all="ship")).starts(BEGUN)
    tale.sends(*(f"every[{n}].ship" for n in range(3)))
    assert tale.command("every[2].ship").record.key == b"lab-child:j1-ship-2"
    for number in (2, 0, 1):
        tale.child_ends(f"every[{number}].ship", result=Done(job_id="j1", step="s", mark=f"m{number}"))
    assert tale.sends("bill").command("bill").message.model_dump()["saw"] == "m0,m1,m2"
    tale.succeeds("bill").releases(*(f"every[{n}].ship" for n in range(3))).ends("completed")


# Undo.


def test_a_completed_child_is_asked_to_undo_itself_in_the_order_of_the_saga() -> None:
    tale = story(step("a"), child("ship", CHILD), step("b")).starts(BEGUN).sends("a").succeeds("a")
    tale.sends("ship").child_ends("ship", result=RESULT).sends("b").refuses("b").undoes("ship", covers=(1,))
    undo = tale.undo("ship")
    assert (undo.id, undo.record.topic, undo.record.key) == ("lab:j1/ship/undo/1", INBOX, b"lab-child:j1-ship")
    tale.goes_on().child_undone("ship").undoes("a").undone("a").releases("ship").ends("compensated")


@pytest.mark.parametrize("phase", ["compensated", "cancelled", "not-started"])
def test_whatever_has_left_nothing_answers_an_undo(phase: Any) -> None:
    tale = story(child("ship", CHILD), step("b")).starts(BEGUN).sends("ship").child_ends("ship").sends("b").refuses("b")
    tale.undoes("ship").child_undone("ship", phase).releases("ship").ends("compensated")


def test_the_command_of_undo_is_sent_instead_and_names_no_ids_that_no_participant_knows() -> None:
    tale = story(child("ship", SURE, undo=True), step("b")).starts(BEGUN).sends("ship")
    tale.child_ends("ship", result=RESULT).sends("b").refuses("b").undoes("ship")
    undo = tale.undo("ship")
    assert isinstance(undo.message, Revert) and undo.message.mark == "m" and undo.envelope.undoes == ()
    tale.undo_fails("ship").passes(timedelta(seconds=1)).undoes("ship").undone("ship").releases("ship")
    tale.ends("compensated")


def test_a_command_that_undoes_a_child_is_sent_again_in_silence_and_at_last_stuck() -> None:
    policy = {"retry": Retry(attempts=1), "timeout": timedelta(seconds=30), "patience": timedelta(seconds=60)}
    tale = story(child("ship", SURE, undo=True, undo_policy=policy), step("b")).starts(BEGUN).sends("ship")
    tale.child_ends("ship", result=RESULT).sends("b").refuses("b").undoes("ship").silent("ship/undo")
    tale.is_stuck("ship/undo", reason="silent").operator("retry", "ship/undo").undoes("ship").undone("ship")
    tale.releases("ship").ends("compensated")


def test_an_irreversible_child_stays_done() -> None:
    tale = story(child("ship", SURE, irreversible=True), step("b")).starts(BEGUN).sends("ship")
    tale.child_ends("ship", result=RESULT).sends("b").refuses("b").releases("ship").ends("compensated")
    assert tale.process.steps["ship"].tries[0].state == "succeeded"


def test_a_child_that_cannot_undo_itself_is_loud() -> None:
    """Verify finds such a saga; the engine does not trust it to have been asked."""
    tale = story(child("ship", SURE), step("b")).starts(BEGUN).sends("ship").child_ends("ship").sends("b").refuses("b")
    tale.undoes("ship").child_undone("ship", "completed").is_stuck("ship/undo", reason="stays completed")
    tale.operator("retry", "ship/undo").undoes("ship").child_undone("ship", "completed")
    tale.is_stuck("ship/undo").operator("skip", "ship/undo").releases("ship").ends("compensated")


# Called off while it runs.


def test_a_running_child_is_called_off_and_awaited_when_a_sibling_fails() -> None:
    tale = story(step("a"), parallel(child("ship", CHILD), step("b"))).starts(BEGUN).sends("a").succeeds("a")
    tale.sends("ship", "b").refuses("b").calls_off("ship").goes_on()
    tale.child_ends("ship", "cancelled", reason="parent").undoes("a").undone("a").releases("ship").ends("compensated")


def test_a_person_cancels_the_parent_while_the_child_runs() -> None:
    tale = story(child("ship", CHILD)).starts(BEGUN).sends("ship").cancels().calls_off("ship")
    tale.child_ends("ship", "cancelled", reason="parent").releases("ship").ends("cancelled")


def test_the_deadline_passes_while_the_child_runs() -> None:
    tale = story(child("ship", CHILD), deadline=timedelta(hours=1)).starts(BEGUN).sends("ship")
    tale.passes(timedelta(hours=1)).calls_off("ship").child_ends("ship", "compensated", at="c1", reason="refused")
    tale.releases("ship").ends("cancelled")


def test_a_child_that_completes_after_it_was_called_off_is_undone_then() -> None:
    tale = story(step("a"), child("ship", CHILD)).starts(BEGUN).sends("a").succeeds("a").sends("ship").cancels()
    tale.calls_off("ship").child_ends("ship", result=RESULT).undoes("ship").child_undone("ship")
    tale.undoes("a").undone("a").releases("ship").ends("cancelled")


def test_a_child_past_its_pivot_completes_and_is_undone_by_the_command() -> None:
    tale = story(child("ship", SURE, undo=True)).starts(BEGUN).sends("ship").cancels().calls_off("ship")
    tale.child_ends("ship", result=RESULT).undoes("ship").undone("ship").releases("ship").ends("cancelled")


def test_an_irreversible_child_past_its_pivot_completes_and_stays() -> None:
    tale = story(child("ship", SURE, irreversible=True)).starts(BEGUN).sends("ship").cancels().calls_off("ship")
    tale.child_ends("ship", result=RESULT).releases("ship").ends("cancelled")


def test_a_given_up_alternative_is_called_off_and_no_process_ends_before_it_has() -> None:
    tale = story(fallback(parallel(child("x", CHILD), step("a")), step("b"))).starts(BEGUN).sends("x", "a")
    tale.refuses("a").calls_off("x").sends("b").succeeds("b").goes_on()
    tale.child_ends("x", result=RESULT).undoes("x").child_undone("x").releases("x").ends("completed")


def test_a_child_that_fails_in_a_fallback_has_the_next_alternative() -> None:
    tale = story(fallback(child("x", CHILD), child("y", CHILD))).starts(BEGUN).sends("x")
    tale.child_ends("x", "compensated", at="c1", reason="refused").sends("y").child_ends("y").releases("x", "y")
    tale.ends("completed")


def test_a_child_in_a_branch_and_in_rounds() -> None:
    branches = choice(when(predicate("never"), step("a")), otherwise(child("ship", CHILD)))
    story(branches).starts(BEGUN).sends("ship").child_ends("ship").releases("ship").ends("completed")
    again = rounds(2, sequence(step("ask"), child("ship", CHILD)), counted="ask", name="twice")
    tale = story(again).starts(BEGUN).sends("twice[0].ask")
    tale.succeeds("twice[0].ask", Done(job_id="j1", step="ask", mark="lab:j1/twice[0].ask/1")).sends("twice[0].ship")
    tale.child_ends("twice[0].ship").sends("twice[1].ask")
    tale.succeeds("twice[1].ask", Done(job_id="j1", step="ask", mark="lab:j1/twice[1].ask/1")).sends("twice[1].ship")
    tale.child_ends("twice[1].ship", "not-started", detail="there is one").undoes("twice[1].ask")
    tale.undone("twice[1].ask").undoes("twice[0].ship").child_undone("twice[0].ship").undoes("twice[0].ask")
    tale.undone("twice[0].ask").releases("twice[0].ship").ends("compensated")


# Repeats, and answers that nobody waits for.


def test_every_answer_counts_once() -> None:
    tale = story(child("ship", CHILD), step("b")).starts(BEGUN).sends("ship")
    tale.child_ends("ship", result=RESULT).sends("b").repeats().ignored("duplicate").refuses("b").undoes("ship")
    tale.child_ends("ship", result=RESULT).ignored("duplicate").child_undone("ship")
    tale.releases("ship").repeats().ignored("duplicate").ends("compensated").child_ends("ship").ignored("duplicate")


def test_a_failure_counts_once_and_does_not_contradict_a_completion() -> None:
    tale = story(step("a"), child("ship", CHILD)).starts(BEGUN).sends("a").succeeds("a").sends("ship")
    tale.child_ends("ship", "cancelled", reason="operator").undoes("a").repeats().ignored("duplicate")
    other = story(child("ship", CHILD), step("b")).starts(BEGUN).sends("ship").child_ends("ship").sends("b")
    other.child_ends("ship", "cancelled", reason="operator").ignored("contradicted")


@pytest.mark.parametrize("ended", [True, False])
def test_a_completion_after_the_step_was_given_up_is_undone_whatever_phase_the_process_is_in(ended: bool) -> None:
    """No child of ours contradicts itself; if one did, nothing of it may stay."""
    tale = story(step("a"), child("ship", CHILD)).starts(BEGUN).sends("a").succeeds("a").sends("ship")
    tale.child_ends("ship", "cancelled", reason="operator").undoes("a")
    if ended:
        tale.undone("a").releases("ship").ends("compensated")
    tale.child_ends("ship", result=RESULT).undoes("ship").child_undone("ship")
    if not ended:
        tale.undone("a").releases("ship")
    tale.ends("compensated")


def test_answers_that_are_for_no_step_are_ignored() -> None:
    tale = story(step("a"), child("ship", CHILD)).starts(BEGUN).sends("a").succeeds("a").sends("ship")
    ended = ChildEnded(process_id="lab:j1", child="lab-child:j1-ship", phase="completed")
    for asked in ("lab:j1/ship/2", "lab:j1/ship/undo/1", "lab:j1/nobody/1", "lab:other/ship/1", "lab:j1/a/1"):
        tale._feed(tale._log.from_child(ended, asked)).ignored("not-awaited")
    stranger = ChildEnded(process_id="lab:j1", child="lab-child:other", phase="completed")
    tale._feed(tale._log.from_child(stranger, "lab:j1/ship/1")).ignored("not-awaited")
    tale.answers("lab:j1/ship/1", Done(job_id="j1", step="ship")).ignored("not-an-outcome")
    tale.answers("lab:j1/ship/1", ended, data=b'{"child": 1}').ignored("invalid-payload").goes_on()


def test_a_child_says_nothing_about_an_undo_by_command() -> None:
    tale = story(child("ship", SURE, undo=True), step("b")).starts(BEGUN).sends("ship").child_ends("ship").sends("b")
    tale.refuses("b").undoes("ship")
    ended = ChildEnded(process_id="lab:j1", child="lab-sure:j1-ship", phase="compensated")
    tale._feed(tale._log.from_child(ended, "lab:j1/ship/undo/1")).ignored("not-an-outcome").goes_on()


# A person decides.


def test_a_builder_that_raises_is_stuck_before_anything_is_started_and_can_be_mended() -> None:
    broken = lab_saga(sequence(step("a"), child("ship", CHILD, raises=LookupError("no such shelf"))))
    tale = Story(broken).starts(BEGUN).sends("a").succeeds("a").is_stuck("ship", reason="no such shelf")
    tale.deploys(lab_saga(sequence(step("a"), child("ship", CHILD)))).operator("retry").sends("ship")
    tale.child_ends("ship").releases("ship").ends("completed")


def test_a_step_that_started_nothing_is_undone_without_a_word() -> None:
    tale = story(step("a"), child("ship", CHILD, raises=LookupError("no"))).starts(BEGUN).sends("a").succeeds("a")
    tale.is_stuck("ship").operator("compensate").undoes("a").undone("a").ends("cancelled")


@pytest.mark.parametrize("key", ["", "a b", "x" * 300])
def test_a_key_that_is_no_id_is_stuck(key: str) -> None:
    odd = Saga(
        name="odd", version=1, starts_on=ChildBegun, key=lambda begun: key, body=step("c1", begun=ChildBegun)
    )  # fmt: skip
    story(child("ship", odd)).starts(BEGUN).is_stuck("ship", reason="not an id")


def test_a_key_function_that_raises_is_stuck() -> None:
    def broken(begun: ChildBegun) -> str:
        raise KeyError("x")

    odd = Saga(name="odd", version=1, starts_on=ChildBegun, key=broken, body=step("c1", begun=ChildBegun))
    story(child("ship", odd)).starts(BEGUN).is_stuck("ship", reason="the key of saga odd raised KeyError")


def test_a_start_that_is_too_large_is_stuck() -> None:
    def large(begun: Begun) -> ChildBegun:
        return ChildBegun(child_id="c", job_id="j1", note="x" * 1_100_000)

    tale = Story(lab_saga(subsaga(CHILD, large))).starts(BEGUN).is_stuck("large", reason="the broker takes")
    assert tale.process.steps["large"].child is None


def test_past_the_pivot_a_failed_child_waits_for_a_person_who_gives_its_result() -> None:
    tale = story(step("a"), pivot(), child("ship", CHILD), step("bill", needs="ship")).starts(BEGUN).sends("a")
    tale.succeeds("a").sends("ship").child_ends("ship", "compensated", at="c1", reason="refused").is_stuck("ship")
    tale.operator("retry", "ship").ignored("nothing-to-retry")
    tale.operator("retry", "ship", correction={"child_id": "c2", "job_id": "j1"}).ignored("not-correctable")
    tale.operator("skip", "ship").ignored("outcome-needed")
    tale.operator("skip", "ship", outcome={"x": 1}).ignored("outcome-invalid")
    tale.operator("skip", "ship", outcome=RESULT).sends("bill")
    assert tale.command("bill").message.model_dump()["saw"] == "m"
    tale.succeeds("bill").releases("ship").ends("completed")


def test_a_step_that_waits_for_its_child_cannot_be_repaired_but_in_the_child() -> None:
    tale = story(child("ship", CHILD)).starts(BEGUN).sends("ship")
    for action in ("retry", "skip", "compensate"):
        tale.operator(action, "ship").ignored("not-stuck")  # type: ignore[arg-type]


# What is stored.


def test_what_a_child_was_told_is_sent_again_after_a_replay_as_it_was() -> None:
    tale = story(child("ship", CHILD), step("b")).starts(BEGUN).sends("ship")
    assert decode_process(encode_process(tale.process)).awaited() == (tale.command("ship").record,)
    tale.child_ends("ship").sends("b").refuses("b").undoes("ship")
    assert decode_process(encode_process(tale.process)).awaited() == (tale.undo("ship").record,)


def test_a_builder_that_makes_another_start_is_no_plan() -> None:
    def wrong(begun: Begun) -> Told:
        return Told(job_id="j1", name="x")

    with pytest.raises(PlanError, match="wrong: its builder makes Told, not ChildBegun, which starts lab-child"):
        Story(lab_saga(subsaga(CHILD, wrong)))
