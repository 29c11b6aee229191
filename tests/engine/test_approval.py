"""`approval`: a person of a role decides, with a form, within a limit; after a while another role may as well."""

from datetime import timedelta

import pytest
from pydantic import BaseModel

from contracts.process import ApprovalEscalated, ApprovalGiven
from orchestrator.language import approval, command, fallback, parallel, pivot, sequence
from orchestrator.language.blocks import Block
from orchestrator.language.waiting import Approval
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Told, lab_saga, step, told_ending

BEGUN = Begun(job_id="j1")
DAY = timedelta(days=1)


class Review(BaseModel):
    score: int
    remark: str | None = None


def review(escalation: tuple[timedelta, str] | None = None) -> Approval:
    return approval("review", role="reviewer", form=Review, limit=DAY, escalation=escalation)


def act_on(begun: Begun, filled_in: Review) -> Do:
    return Do(job_id=begun.job_id, step="act_on", saw=str(filled_in.score))


def started(*blocks: Block, cancelled: Block | None = None, deadline: timedelta | None = None) -> Story:
    return Story(lab_saga(sequence(*blocks), cancelled=cancelled, deadline=deadline)).starts(BEGUN)


def reviewing(escalation: tuple[timedelta, str] | None = None) -> Story:
    blocks = (step("a"), review(escalation), command(act_on, irreversible=True))
    return started(*blocks, cancelled=told_ending()).sends("a").succeeds("a").goes_on()


def test_approved_the_process_goes_on_with_the_form() -> None:
    story = reviewing().approves("review", {"score": 4}).sends("act_on")
    assert '"saw":"4"' in story.command("act_on").record.value.decode()
    assert set(story.process.timers) == {"act_on/silence"}
    story.succeeds("act_on").ends("completed")


def test_rejected_everything_is_undone() -> None:
    story = reviewing().approves("review", no=True).undoes("a").undone("a")
    assert story.emitted(Told) == Told(job_id="j1", name="over", reason="refused", step="review")
    story.ends("compensated")


def test_the_form_of_a_rejection_is_kept() -> None:
    story = reviewing().approves("review", {"score": 0, "remark": "no"}, no=True).undoes("a")
    refusal = story.process.steps["review"].refusal
    assert refusal is not None and refusal.data == b'{"score":0,"remark":"no"}'


def test_in_a_fallback_a_rejection_tries_the_next_alternative() -> None:
    started(fallback(review(), step("b"))).approves("review", no=True).sends("b").succeeds("b").ends("completed")


def test_when_nobody_decides_it_has_failed() -> None:
    reviewing().waits_until("review/limit").undoes("a")


def test_past_the_pivot_a_late_decision_still_counts() -> None:
    def late() -> Story:
        return started(pivot(), review(), command(act_on)).waits_until("review/limit").is_stuck("review")

    late().approves("review", {"score": 1}).sends("act_on")
    late().approves("review", no=True).is_stuck("review", reason="refused")
    late().operator("retry").goes_on().approves("review", {"score": 1}).sends("act_on")
    late().operator("skip").ignored("outcome-needed").operator("skip", outcome={"score": 2}).sends("act_on")


def test_a_rejection_past_the_pivot_is_no_escalation() -> None:
    """Found by the explorer: the rejection stops the timer, which was taken for its having fired."""
    block = review(escalation=(timedelta(hours=1), "board"))
    story = started(pivot(), block, command(act_on)).approves("review", no=True).is_stuck("review", reason="refused")
    story.approves("review", {"score": 1}, roles=("board",)).ignored("wrong-role")
    story.approves("review", {"score": 1}, roles=("reviewer",)).sends("act_on")


def test_after_the_limit_the_escalated_role_may_decide_too() -> None:
    block = review(escalation=(timedelta(hours=1), "board"))
    story = started(pivot(), block, command(act_on)).waits_until("review/limit").is_stuck("review")
    story.approves("review", {"score": 1}, roles=("board",)).sends("act_on")


def test_who_may_decide() -> None:
    story = reviewing().approves("review", {"score": 1}, roles=("clerk",)).ignored("wrong-role")
    story.approves("review", {"score": 1}, roles=("clerk", "reviewer")).sends("act_on")


def test_escalation_tells_the_world_and_lets_another_role_decide_as_well() -> None:
    def waiting() -> Story:
        return reviewing((timedelta(hours=2), "manager"))

    story = waiting().approves("review", {"score": 1}, roles=("manager",)).ignored("wrong-role")
    story.waits_until("review/escalation").announces("approval-escalated")
    (sent,) = story.last.sent
    told = sent.message
    assert isinstance(told, ApprovalEscalated)
    assert (sent.record.topic, told.step, told.role, told.escalated_to) == (
        "orchestrator.events",
        "review",
        "reviewer",
        "manager",
    )
    assert sent.id == "lab:j1/review/escalation/3"
    story.goes_on().approves("review", {"score": 1}, roles=("manager",)).sends("act_on")
    waiting().waits_until("review/escalation").approves("review", {"score": 1}, roles=("reviewer",)).sends("act_on")
    waiting().waits_until("review/escalation").waits_until("review/limit").undoes("a")


@pytest.mark.parametrize("form", [None, {}, {"score": "many"}])
def test_a_form_that_does_not_fit_is_ignored(form: dict[str, object] | None) -> None:
    reviewing().approves("review", form).ignored("form-invalid").goes_on()


def test_an_approval_without_a_form_takes_none() -> None:
    story = started(approval("ok", role="r", limit=DAY), step("b"))
    story.approves("ok", {"x": 1}).ignored("form-invalid").approves("ok").sends("b")


def test_a_decision_is_taken_once_and_only_while_it_is_asked_for() -> None:
    story = reviewing().approves("act_on").ignored("not-awaited").approves("nowhere").ignored("not-awaited")
    story.approves("review", {"score": 1}).sends("act_on").repeats().ignored("duplicate")
    story.approves("review", no=True).ignored("not-awaited")
    early = started(step("a"), review()).sends("a").approves("review", {"score": 1})
    early.ignored("not-awaited")


def test_a_failure_beside_it_gives_the_approval_up_at_once() -> None:
    story = started(parallel(step("a"), review((timedelta(hours=1), "manager")))).sends("a").refuses("a")
    story.ends("compensated")
    assert story.process.timers == {}


def test_cancellation_gives_the_approval_up() -> None:
    reviewing().cancels().undoes("a").approves("review", {"score": 1}).ignored("not-awaited")


def test_a_malformed_decision_is_ignored() -> None:
    story = reviewing()
    envelope = story._log.control(
        ApprovalGiven(process_id="lab:j1", step="review", decision="approve", by="x")
    ).envelope
    story.receives(envelope, b"{}").ignored("invalid-payload")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: approval("x", role="", limit=DAY),
        lambda: approval("x", role="r", limit=timedelta(0)),
        lambda: approval("x", role="r", limit=DAY, escalation=(DAY, "m")),
        lambda: approval("x", role="r", limit=DAY, escalation=(timedelta(0), "m")),
        lambda: approval("x", role="r", limit=DAY, escalation=(timedelta(1), "")),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong()  # type: ignore[operator]
