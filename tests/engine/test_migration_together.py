"""Processes that wait for a child or for a permit, or are a child themselves, are moved to a newer version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import pytest

from contracts.message import Event
from orchestrator.language import Concurrency, From, Migration, Rate, Retry, Saga, fallback, parallel, pivot, sequence
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, Told, lab_saga, step, told
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, child_step

BEGUN = Begun(job_id="j1")
CHILD_BEGUN = ChildBegun(child_id="j1", job_id="j1")
MINUTE = timedelta(minutes=1)
CHILD = child_saga()
SHIP = child("ship", CHILD)
RESULT = Done(job_id="j1", step="lab-child", mark="m")


def old(*blocks: Block, **more: Any) -> Saga:
    return replace(lab_saga(sequence(*blocks)), **more)


def new(*blocks: Block, renamed: dict[str, str] | None = None, **more: Any) -> Saga:
    return replace(old(*blocks), version=2, migrates=(Migration(1, renamed or {}),), **more)


# A parent.


def waits_for_its_child(*after: Block) -> Story:
    return Story(old(step("a"), SHIP, *after)).starts(BEGUN).sends("a").succeeds("a").sends("ship")


def test_a_parent_is_moved_while_its_child_runs_and_hears_its_end() -> None:
    story = waits_for_its_child().migrates(new(step("a"), SHIP, step("bill", needs="ship"))).goes_on()
    story.child_ends("ship", result=RESULT).sends("bill")
    assert story.command("bill").message.model_dump()["saw"] == "m"
    story.succeeds("bill").releases("ship").ends("completed")


def test_a_moved_parent_calls_its_child_off_and_undoes_it() -> None:
    newer = new(step("a"), SHIP, step("bill"))
    off = waits_for_its_child().migrates(newer).cancels().calls_off("ship")
    off.child_ends("ship", "cancelled").undoes("a").undone("a").releases("ship").ends("cancelled")
    undone = waits_for_its_child().migrates(newer).child_ends("ship", result=RESULT).sends("bill")
    undone.refuses("bill").undoes("ship").child_undone("ship").undoes("a").undone("a")
    undone.releases("ship").ends("compensated")


@pytest.mark.parametrize(
    ("ship", "why"),
    [
        (child("ship", replace(CHILD, version=2)), "ship starts lab-child version 1, and then lab-child version 2"),
        (child("ship", child_saga(name="lab-else")), "ship starts lab-child version 1, and then lab-else version 1"),
        (replace(SHIP, irreversible=True), "ship is not the same any more"),
        (replace(SHIP, name="send"), "send is new in version 2 and stands at or before ship"),
    ],
)
def test_a_parent_whose_child_would_be_another_is_not_moved(ship: Block, why: str) -> None:
    story = waits_for_its_child().migrates(new(step("a"), ship))
    story.ignored("not-migratable").because("has passed", why)
    story.child_ends("ship", result=RESULT).releases("ship").ends("completed")


def test_a_parent_that_has_not_come_to_its_child_may_start_another() -> None:
    later = child("ship", replace(CHILD, version=2))
    story = Story(old(step("a"), SHIP)).starts(BEGUN).sends("a").migrates(new(step("a"), later))
    story.succeeds("a").sends("ship")
    assert dict(story.command("ship").record.headers)["cp_version"] == b"2"


def test_a_parent_is_moved_while_one_of_its_children_has_ended() -> None:
    other = child("other", CHILD)
    story = Story(old(parallel(SHIP, other))).starts(BEGUN).sends("ship", "other").child_ends("other", result=RESULT)
    story.migrates(new(parallel(SHIP, other), told("news"))).child_ends("ship", result=RESULT).tells("news")
    story.releases("ship", "other").ends("completed")


# Permits.

LIMIT = Concurrency(1)


def waits_for_a_permit(limit: Any = LIMIT) -> Story:
    return Story(old(step("a", limit=limit))).others_hold("a").starts(BEGUN).is_limited("a")


def test_who_waits_for_a_permit_is_moved_and_takes_it() -> None:
    story = waits_for_a_permit().migrates(new(step("a", limit=LIMIT), step("b"))).is_limited("a")
    story.others_release("a").sends("a").succeeds("a").sends("b").succeeds("b").ends("completed")


def test_who_waits_for_its_slot_is_moved_and_goes_on_when_it_is_due() -> None:
    limit = Rate(1, per="hour")
    story = waits_for_a_permit(limit).migrates(new(step("a", limit=limit), step("b")))
    story.passes(timedelta(hours=1)).sends("a").succeeds("a").sends("b")


@pytest.mark.parametrize(
    ("newer", "renamed"),
    [
        (step("a", limit=Concurrency(2)), {}),
        (step("a", limit=Rate(1)), {}),
        (step("a"), {}),
        (step("first", limit=LIMIT), {"a": "first"}),
    ],
)
def test_who_waits_for_a_permit_that_would_be_another_is_not_moved(newer: Block, renamed: dict[str, str]) -> None:
    story = waits_for_a_permit().migrates(new(newer, renamed=renamed))
    story.ignored("not-migratable").because("a waits for a permit or holds one", "its name or its limits are others")
    story.others_release("a").sends("a").succeeds("a").ends("completed")


def test_who_holds_a_permit_is_moved_and_gives_it_back() -> None:
    story = Story(old(step("a", limit=LIMIT))).starts(BEGUN).sends("a")
    story.migrates(new(step("a", limit=LIMIT), step("b"))).succeeds("a").sends("b")
    assert story.process.permits == {}
    (limiter,) = story.limiters.states.values()
    assert limiter.limiter is not None and limiter.limiter.leases == {}


@pytest.mark.parametrize("waits", [True, False])
def test_a_process_with_a_limit_of_its_own_is_moved_with_its_place(waits: bool) -> None:
    story = Story(old(step("a"), limit=LIMIT))
    if waits:
        story.others_hold("#saga").starts(BEGUN).is_limited("#saga")
    else:
        story.starts(BEGUN).sends("a")
    story.migrates(new(step("a"), step("b"), limit=LIMIT)).goes_on()
    assert "#saga/permit" in story.process.timers
    if waits:
        story.others_release("#saga").sends("a")
    story.succeeds("a").sends("b").succeeds("b").ends("completed")
    assert story.process.permits == {} and story.process.timers == {}


@pytest.mark.parametrize("limit", [None, Concurrency(2)])
def test_a_process_whose_own_limit_would_be_another_is_not_moved(limit: Any) -> None:
    story = Story(old(step("a"), limit=LIMIT)).others_hold("#saga").starts(BEGUN)
    story.migrates(new(step("a"), limit=limit)).ignored("not-migratable")
    story.because("the process waits for a permit or holds one").others_release("#saga").sends("a")


# A child.


def home(begun: ChildBegun, done: Annotated[Done, From("c1")]) -> Done:
    return Done(job_id=begun.job_id, step="new", mark=f"new {done.mark}")


def news(begun: ChildBegun) -> Told:
    return Told(job_id=begun.job_id, name="news")


def newer_child(*blocks: Block, **more: Any) -> Saga:
    older = child_saga(sequence(*blocks), name="lab")
    return replace(older, version=2, migrates=(Migration(1),), **more)


def born() -> Story:
    return Story(child_saga(name="lab", body=sequence(child_step("c1")))).is_started(CHILD_BEGUN).sends("c1")


def test_a_child_is_moved_and_brings_home_what_its_newer_version_returns() -> None:
    story = born().migrates(newer_child(child_step("c1"), child_step("c2"), returns=home))
    story.succeeds("c1", Done(job_id="j1", step="c1", mark="m")).sends("c2").succeeds("c2")
    result = story.answers_parent("completed").result
    assert result is not None and result["mark"] == "new m"
    story.is_released().ends("completed")
    assert story.process.version == 2 and story.process.expires_at_ms


def test_a_moved_child_hears_its_parent_as_before() -> None:
    story = born().migrates(newer_child(child_step("c1"), child_step("c2"))).succeeds("c1").sends("c2")
    story.is_called_off().refuses("c2").undoes("c1").undone("c1")
    story.answers_parent("cancelled")
    story.ends("cancelled")


def test_a_child_that_is_stuck_at_what_it_returns_is_moved_and_mended() -> None:
    broken = child_saga(name="lab", body=sequence(child_step("c1")), raises=LookupError("lost"))
    story = Story(broken).is_started(CHILD_BEGUN).sends("c1").succeeds("c1").is_stuck("returns", reason="lost")
    story.migrates(newer_child(child_step("c1"), returns=home)).is_stuck("returns").operator("retry", "returns")
    result = story.answers_parent("completed").result
    assert result is not None and result["step"] == "new"
    story.ends("completed")


def returning(result: type[Event] | None) -> Any:
    return news if result is Told else None


@pytest.mark.parametrize("result", [Told, None])
def test_a_child_is_not_moved_to_a_version_that_returns_what_its_parent_does_not_expect(result: Any) -> None:
    newer = newer_child(child_step("c1"), child_step("c2"), returns=returning(result))
    story = born().migrates(newer).ignored("not-migratable").because("parent:p1", "lab.done.v1")
    story.succeeds("c1")
    assert story.answers_parent("completed").result_type == Done.type
    alone = Story(child_saga(name="lab", body=sequence(child_step("c1")))).starts(CHILD_BEGUN).sends("c1")
    alone.migrates(newer).goes_on().succeeds("c1").sends("c2")


# Alerts.


def test_a_stuck_child_is_moved_and_its_parent_still_hears_its_end() -> None:
    body = sequence(pivot(), child_step("c1", undo=False, retry=Retry(attempts=1)))
    older = child_saga(body, name="lab")
    story = Story(older).is_started(CHILD_BEGUN).sends("c1").fails("c1").is_stuck("c1")
    story.migrates(replace(older, version=2, migrates=(Migration(1),))).is_stuck("c1").operator("retry").sends("c1")
    story.succeeds("c1")
    story.answers_parent("completed")


def test_what_a_given_up_alternative_would_have_demanded_does_not_hold_its_process() -> None:
    given_up = sequence(step("a"), step("b"), step("c", needs="b"))
    body = (fallback(given_up, sequence(step("d"), step("e"))), step("f"))
    story = Story(old(*body)).starts(BEGUN).sends("a").refuses("a").sends("d")
    story.migrates(new(*body, step("g"))).succeeds("d").sends("e").succeeds("e").sends("f").succeeds("f").sends("g")
