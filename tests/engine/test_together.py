"""Where two features meet that know nothing of each other: children with limits, alerts, escalations, expiry."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.envelope import Envelope
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.limits import PermitGranted
from contracts.process import ApprovalGiven, ChildEnded
from contracts.topics import INBOX, TOMBSTONE_MS
from orchestrator.engine.expiry import EXPIRY_TIMER, KEEP_ENDED_MS
from orchestrator.engine.permits import LEASE_MARGIN_MS, SAGA_LEASE_MS
from orchestrator.language import Concurrency, Retry, Saga, Stuck, emit, parallel, pivot, sequence
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.family import Family
from orchestrator.testkit.lab import Begun, Done, Refused, Reverted, Told, lab_saga, step
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, child_step
from tests.engine.test_approval import review

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
PARENT, CHILD = "lab:j1", "lab-child:j1-ship"
LIMITER = "limiter:concurrency:lab-child.c1"
BEGUN = Begun(job_id="j1")


def done(name: str) -> Done:
    return Done(job_id="j1", step=name)


def undone(name: str) -> Reverted:
    return Reverted(job_id="j1", step=name)


def family(saga: Saga, *children: Saga) -> Family:
    found = Family([saga, *children])
    found.starts(saga, BEGUN)
    found.deliver()
    return found


def around(inner: Saga, *after: Block) -> Saga:
    return lab_saga(sequence(child("ship", inner), *after))


# A person decides in a child.


@pytest.mark.parametrize("escalates", [True, False])
def test_a_parent_that_is_cancelled_ends_what_a_person_was_asked_in_its_child(escalates: bool) -> None:
    inner = child_saga(sequence(child_step("c1"), review((HOUR, "boss"))))
    both = family(around(inner), inner)
    both.answers(f"{CHILD}/c1/1", done("c1"))
    if escalates:
        both.fires(CHILD, "review/escalation")
    both.cancels(PARENT)
    both.deliver()
    assert both.process(CHILD).steps["review"].status == "failed"
    assert set(both.process(CHILD).timers) == {"c1/undo/1/silence"}
    late = ApprovalGiven(
        process_id=CHILD, step="review", decision="approve", form={"score": 1}, by="b", roles=("boss",)
    )
    fed = both.feed(CHILD, both.inboxes[CHILD].control(late))
    assert fed.decision.reason == "not-awaited"
    both.answers(f"{CHILD}/c1/undo/1", undone("c1"))
    both.deliver()
    assert both.phases() == {PARENT: "cancelled", CHILD: "cancelled"}
    assert both.process(CHILD).expires_at_ms and not both.process(CHILD).timers


def page(begun: ChildBegun, stuck: Stuck) -> Told:
    return Told(job_id=begun.job_id, name="page", reason=stuck.reason, step=stuck.address)


def test_a_stuck_child_alerts_and_its_parent_goes_on_once_somebody_has_helped() -> None:
    body = sequence(pivot(), child_step("c1", undo=False, retry=Retry(attempts=1)))
    inner = replace(child_saga(body), on_stuck=emit(page))
    both = family(lab_saga(sequence(child("ship", inner, undo=True), step("bill", needs="ship"))), inner)
    fed = both.answers(f"{CHILD}/c1/1", effect="none")
    (paged,) = (one.message for one in fed.sent if one.kind == "emit")
    assert paged == Told(job_id="j1", name="page", reason="failed", step="c1")
    assert both.deliver() == 0 and both.phases() == {PARENT: "running", CHILD: "stuck"}
    both.operator(CHILD, "retry", "c1")
    both.answers(f"{CHILD}/c1/2", done("c1"))
    both.deliver()
    both.answers(f"{PARENT}/bill/1", done("bill"))
    both.deliver()
    assert both.phases() == {PARENT: "completed", CHILD: "completed"}
    assert not both.process(CHILD).timers and both.process(CHILD).expires_at_ms


# Children and limits.


def held(both: Family, limiter: str) -> tuple[list[str], list[str]]:
    """Who has a place, and who is in line."""
    state = both.limiters.states[limiter].limiter
    assert state is not None
    return list(state.leases), [request for piece in state.waiting for request in piece]


def test_a_child_that_waits_for_its_turn_is_called_off_without_having_begun() -> None:
    inner = replace(child_saga(), limit=Concurrency(1))
    three = family(lab_saga(parallel(child("one", inner), child("two", inner))), inner)
    first, second, limiter = "lab-child:j1-one", "lab-child:j1-two", "limiter:concurrency:lab-child"
    assert [len(part) for part in held(three, limiter)] == [1, 1]
    assert three.process(first).steps["c1"].status == "awaiting" and three.process(second).steps == {}
    three.cancels(PARENT)
    three.deliver()
    assert three.phases() == {PARENT: "compensating", first: "compensating", second: "cancelled"}
    assert len(held(three, limiter)[0]) == 1 and held(three, limiter)[1] == []
    three.answers(f"{first}/c1/1", Refused(job_id="j1", step="c1"))
    three.deliver()
    assert set(three.phases().values()) == {"cancelled"} and held(three, limiter) == ([], [])
    assert three.process(second).permits == {} and three.process(second).timers == {}
    assert [one for one in three.sent if one.startswith(second)] == []


def test_the_next_child_begins_when_the_one_before_has_ended() -> None:
    inner = replace(child_saga(), limit=Concurrency(1))
    three = family(lab_saga(parallel(child("one", inner), child("two", inner))), inner)
    three.answers("lab-child:j1-one/c1/1", done("c1"))
    three.deliver()
    three.answers("lab-child:j1-two/c1/1", done("c1"))
    three.deliver()
    assert set(three.phases().values()) == {"completed"} and held(three, "limiter:concurrency:lab-child") == ([], [])


def test_a_child_that_completed_is_undone_without_a_place_of_its_own() -> None:
    """Its place went back when it ended; undos take no permits."""
    inner = replace(child_saga(), limit=Concurrency(1))
    both = family(around(inner, step("b")), inner)
    both.answers(f"{CHILD}/c1/1", done("c1"))
    both.deliver()
    assert held(both, "limiter:concurrency:lab-child") == ([], [])
    both.answers(f"{PARENT}/b/1", Refused(job_id="j1", step="b"))
    both.deliver()
    both.answers(f"{CHILD}/c1/undo/1", undone("c1"))
    both.deliver()
    assert both.phases() == {PARENT: "compensated", CHILD: "compensated"}
    assert held(both, "limiter:concurrency:lab-child") == ([], [])


def test_a_limited_step_in_a_child_is_undone_in_its_turn_and_needs_no_permit_for_that() -> None:
    inner = child_saga(sequence(child_step("c1", limit=Concurrency(1)), child_step("c2")))
    saga = lab_saga(sequence(step("a"), child("ship", inner), step("b")))
    both = family(saga, inner)
    both.answers(f"{PARENT}/a/1", done("a"))
    both.deliver()
    assert len(held(both, LIMITER)[0]) == 1
    for name in ("c1", "c2"):
        both.answers(f"{CHILD}/{name}/1", done(name))
    assert held(both, LIMITER) == ([], [])
    both.deliver()
    both.answers(f"{PARENT}/b/1", Refused(job_id="j1", step="b"))
    undos = []
    for name in (f"{CHILD}/c2", f"{CHILD}/c1", f"{PARENT}/a"):
        both.deliver()
        undos += [one for one in both.sent if "/undo/" in one and one not in undos]
        both.answers(f"{name}/undo/1", undone("x"))
    both.deliver()
    assert undos == [f"{CHILD}/c2/undo/1", f"{CHILD}/c1/undo/1", f"{PARENT}/a/undo/1"]
    assert both.phases() == {PARENT: "compensated", CHILD: "compensated"} and held(both, LIMITER) == ([], [])


def test_a_limited_step_in_a_child_that_is_called_off_leaves_the_line() -> None:
    inner = child_saga(sequence(child_step("c1"), child_step("c2", limit=Concurrency(1, name="lab-child.c1"))))
    both = family(lab_saga(parallel(child("ship", inner), child("other", inner))), inner)
    for name in ("lab-child:j1-other", CHILD):
        both.answers(f"{name}/c1/1", done("c1"))
        both.deliver()
    assert both.process(CHILD).steps["c2"].status == "limited"
    both.cancels(PARENT)
    both.deliver()
    assert held(both, LIMITER)[1] == [] and both.process(CHILD).permits == {}
    both.answers("lab-child:j1-other/c2/1", done("c2"))
    for address in ("lab-child:j1-other/c2", "lab-child:j1-other/c1", f"{CHILD}/c1"):
        both.answers(f"{address}/undo/1", undone("x"))
    both.deliver()
    assert set(both.phases().values()) == {"cancelled"} and held(both, LIMITER) == ([], [])


# Children and expiry.


def expire(both: Family, identity: str) -> None:
    both.now_ms = max(both.now_ms, both.process(identity).expires_at_ms)
    both.feed(identity, both._inbox(identity).timer(EXPIRY_TIMER, both.process(identity).expires_at_ms))


def test_a_child_has_no_expiry_before_it_is_let_go() -> None:
    inner = child_saga()
    both = family(around(inner, step("b")), inner)
    both.answers(f"{CHILD}/c1/1", done("c1"))
    both.deliver()
    assert (both.process(CHILD).phase, both.process(CHILD).expires_at_ms) == ("completed", 0)
    asked = both.feed(CHILD, both._inbox(CHILD).timer(EXPIRY_TIMER, both.now_ms))
    assert (asked.decision.reason, both.process(CHILD).expires_at_ms) == ("stale", 0)
    both.answers(f"{PARENT}/b/1", done("b"))
    assert both.process(CHILD).expires_at_ms == 0 and both.process(PARENT).expires_at_ms
    both.deliver()
    assert both.process(CHILD).expires_at_ms == both.process(CHILD).updated_at_ms + KEEP_ENDED_MS
    expire(both, CHILD)
    assert both.process(CHILD).phase == "expired"


def test_what_has_expired_is_not_started_again_and_its_second_parent_fails_there() -> None:
    inner = child_saga()
    saga = lab_saga(sequence(step("a"), child("ship", inner, key="same")))
    both = family(saga, inner)
    both.answers("lab:j1/a/1", done("a"))
    both.deliver()
    both.answers("lab-child:same/c1/1", done("c1"))
    both.deliver()
    expire(both, "lab-child:same")
    assert both.process("lab-child:same").phase == "expired"
    both.starts(saga, Begun(job_id="j2"))
    both.answers("lab:j2/a/1", Done(job_id="j2", step="a"))
    before_ms = both.now_ms
    both.deliver()
    later = both.process("lab:j2")
    assert (later.phase, later.steps["ship"].tries[-1].state) == ("compensating", "none")
    assert later.cause is not None and "has expired" in (later.cause.detail or "")
    assert both.process("lab-child:same").expires_at_ms >= before_ms + TOMBSTONE_MS, "kept on: it was asked for again"
    both.answers("lab:j2/a/undo/1", undone("a"))
    both.deliver()
    assert both.process("lab:j2").phase == "compensated"
    assert [one for one in both.sent if one.startswith("lab-child:same")] == ["lab-child:same/c1/1"]


def test_a_mark_of_what_never_began_expires_and_begins_nothing_as_long_as_it_is_there() -> None:
    saga = child_saga(name="lab")
    story = Story(saga).is_called_off()
    story.answers_parent("not-started")
    assert story.process.expires_at_ms == story.process.updated_at_ms + KEEP_ENDED_MS
    story.without_clock(timedelta(milliseconds=KEEP_ENDED_MS)).timer_fires(EXPIRY_TIMER)
    assert story.process.phase == "expired"
    story.is_started(ChildBegun(child_id="j1", job_id="j1")).ignored("already-ended")
    answer = story.answers_parent("not-started")
    assert answer.detail is not None and "has expired" in answer.detail and story.process.phase == "expired"


# Limits and ends.


def grant(story: Story, request: str, limiter: str) -> PermitGranted:
    return PermitGranted(
        process_id=story.process.id, limiter=limiter, request=request, not_before_ms=story.now_ms
    )  # fmt: skip


def ended_in_line() -> tuple[Story, str]:
    """Called off while it was in line; its withdrawal is on its way."""
    story = Story(replace(lab_saga(step("a")), limit=Concurrency(1))).others_hold("#saga").starts(BEGUN)
    request = story.process.permits["#saga"].request
    return story.cancels().ends("cancelled"), request


def receives(story: Story, granted: PermitGranted) -> None:
    envelope = Envelope(id=f"{granted.request}/granted/1", source=ORCHESTRATOR_SOURCE, type=granted.type)
    story.receives(envelope, granted.to_json())


def test_a_grant_that_crosses_the_end_is_given_back_and_delays_no_expiry() -> None:
    story, request = ended_in_line()
    due_ms = story.process.expires_at_ms
    story.without_clock(MINUTE)
    receives(story, grant(story, request, "limiter:concurrency:lab"))
    (sent,) = story.last.sent
    assert (sent.kind, sent.record.topic, sent.record.key) == ("permit", INBOX, b"limiter:concurrency:lab")
    assert (story.process.phase, story.process.permits, story.process.timers) == ("cancelled", {}, {})
    assert story.process.expires_at_ms == due_ms


def test_a_grant_for_what_has_expired_is_ignored_and_its_lease_ends_by_time() -> None:
    story = Story(lab_saga(step("a", limit=Concurrency(1), patience=MINUTE))).starts(BEGUN).sends("a")
    request = story.process.permits["a"].request
    lost = story.limiters.states["limiter:concurrency:lab.a"]
    story.succeeds("a").ends("completed")
    story.limiters.states[lost.id] = lost  # its release is lost
    story.without_clock(timedelta(milliseconds=KEEP_ENDED_MS)).timer_fires(EXPIRY_TIMER)
    receives(story, grant(story, request, lost.id))
    story.ignored("expired")
    assert story.last.sent == () and story.process.phase == "expired"
    story.limiters.pass_time(story.now_ms + 60_000 + LEASE_MARGIN_MS)
    limiter = story.limiters.states[lost.id].limiter
    assert limiter is not None and limiter.leases == {}


def test_a_stuck_child_gives_its_place_up_and_is_undone_without_it() -> None:
    """A lease of a whole process is not renewed while a person is waited for."""
    inner = replace(child_saga(child_step("c1", on_failure="hold", retry=Retry(attempts=1))), limit=Concurrency(1))
    both = family(around(inner), inner)
    both.answers(f"{CHILD}/c1/1", effect="none")
    both.fires(CHILD, "#saga/permit")
    both.now_ms += SAGA_LEASE_MS
    both.limiters.pass_time(both.now_ms)
    assert held(both, "limiter:concurrency:lab-child") == ([], []) and both.process(CHILD).phase == "stuck"
    both.cancels(PARENT)
    both.deliver()
    assert both.phases() == {PARENT: "cancelled", CHILD: "cancelled"}
    assert both.process(CHILD).permits == {} and both.process(CHILD).expires_at_ms


def test_what_is_answered_for_a_tombstone_is_an_answer_to_its_parent_alone() -> None:
    story = Story(child_saga(name="lab")).is_started(ChildBegun(child_id="j1", job_id="j1")).sends("c1").succeeds("c1")
    story.answers_parent("completed")
    story.is_released().without_clock(timedelta(milliseconds=KEEP_ENDED_MS)).timer_fires(EXPIRY_TIMER)
    story.is_called_off().ignored("expired")
    story.is_released().ignored("expired")
    story.is_undone().ignored("already-ended")
    assert isinstance(story.last.sent[0].message, ChildEnded)
    story.answers_parent("not-started")
