"""A waiting process is moved to a newer version of its saga: what it has done keeps its meaning, the new follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.message import Event, Identifier
from orchestrator.engine.book import UnknownVersion
from orchestrator.engine.inputs import Input
from orchestrator.language import (
    Migration,
    Retry,
    Saga,
    SagaError,
    Signal,
    approval,
    choice,
    fallback,
    otherwise,
    parallel,
    pivot,
    sequence,
    wait_for,
    when,
)
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import each, pause, predicate, rounds

BEGUN = Begun(job_id="j1")
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ONCE = Retry(attempts=1)


class Arrived(Event, type="lab.arrived.v1"):
    job_id: Identifier


class Released(Signal, name="released"):
    by: str = "ann"


class Form(BaseModel):
    amount: int


def old(*blocks: Block, **more: Any) -> Saga:
    return lab_saga(sequence(*blocks), **more)


def new(*blocks: Block, renamed: dict[str, str] | None = None, **more: Any) -> Saga:
    migrates = (Migration(from_version=1, renamed=renamed or {}),)
    return replace(lab_saga(sequence(*blocks), **more), version=2, migrates=migrates)


def arrival() -> Block:
    return wait_for(Arrived, key=lambda event: event.job_id, limit=HOUR, name="arrival")


def told_names(story: Story) -> list[str]:
    """What the last input has published, in order; it counts as told."""
    sent = [one for one in story.last.sent if one.kind == "emit"]
    story.tells(*(one.step for one in sent))
    return [one.step for one in sent]


# Where a process may stand when it is moved.


def test_awaiting_a_command_it_takes_the_answer_to_what_the_old_version_sent() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a")
    before = story.process
    story.migrates(new(step("a"), step("b"))).because("ann asked for version 2 instead of 1").goes_on()
    assert story.process.version == 2
    assert story.process.steps == before.steps and story.process.timers == before.timers
    assert story.process.revision == before.revision + 1
    story.succeeds("a").sends("b").succeeds("b").ends("completed")


def test_silence_sends_the_same_bytes_again_and_a_new_try_counts_on() -> None:
    body = step("a", retry=Retry(attempts=3, first=SECOND))
    story = Story(old(body)).starts(BEGUN).sends("a").migrates(new(body, told("news")))
    story.passes(timedelta(seconds=30)).resends("a").fails("a").passes(SECOND).sends("a")
    assert story.command("a").id == "lab:j1/a/2"
    story.succeeds("a")
    assert told_names(story) == ["news"]
    story.ends("completed")


def test_in_a_back_off_the_new_try_comes_when_it_was_due() -> None:
    body = step("a", retry=Retry(attempts=2, first=timedelta(minutes=1)))
    story = Story(old(body)).starts(BEGUN).sends("a").fails("a").passes(timedelta(seconds=40))
    story.migrates(new(body, step("b"))).passes(timedelta(seconds=19)).goes_on()
    story.passes(timedelta(seconds=1)).sends("a").succeeds("a").sends("b")


def test_waiting_for_an_event_it_takes_it_and_the_limit_stays() -> None:
    story = Story(old(arrival(), step("a"))).starts(BEGUN).passes(timedelta(minutes=50))
    story.migrates(new(arrival(), step("b"))).happens(Arrived(job_id="j1")).sends("b")
    late = Story(old(arrival(), step("a"))).starts(BEGUN).passes(timedelta(minutes=50))
    late.migrates(new(arrival(), step("b"))).passes(timedelta(minutes=10)).ends("compensated")


def test_an_early_signal_waits_for_its_block_in_the_new_version() -> None:
    released = wait_for(Released, limit=HOUR, name="released")
    story = Story(old(step("a"), released)).starts(BEGUN).sends("a").signals(Released()).keeps("signal/released")
    story.migrates(new(step("a"), step("b"), released)).succeeds("a").sends("b").succeeds("b").ends("completed")


def test_an_early_signal_that_nobody_wants_any_more_is_dropped_and_told() -> None:
    released = wait_for(Released, limit=HOUR, name="released")
    story = Story(old(step("a"), released)).starts(BEGUN).sends("a").signals(Released()).keeps("signal/released")
    story.migrates(new(step("a"))).because("signal/released, which was kept, is not waited for in version 2")
    assert story.process.early == ()


def test_asleep_it_wakes_when_it_would_have() -> None:
    story = Story(old(pause("nap", HOUR), step("a"))).starts(BEGUN).passes(timedelta(minutes=20))
    story.migrates(new(pause("nap", timedelta(days=1)), step("b"))).passes(timedelta(minutes=39)).goes_on()
    story.passes(timedelta(minutes=1)).sends("b")


def test_waiting_for_an_approval_the_new_role_decides() -> None:
    def signed(role: str) -> Block:
        return approval("sign", role=role, form=Form, limit=HOUR)

    story = Story(old(signed("clerk"), step("a"))).starts(BEGUN).migrates(new(signed("manager"), step("a"), step("b")))
    story.approves("sign", {"amount": 1}, roles=("clerk",)).ignored("wrong-role")
    story.approves("sign", {"amount": 1}, roles=("manager",)).sends("a")


def test_in_a_for_each_elements_under_way_go_on_and_later_ones_run_anew() -> None:
    def loop(*inside: Block) -> Block:
        return each(3, sequence(*inside), name="ship", concurrency=1)

    story = Story(old(loop(step("a")))).starts(BEGUN).sends("ship[0].a")
    story.migrates(new(loop(step("a"), step("b")), step("c")))
    story.succeeds("ship[0].a").sends("ship[0].b").succeeds("ship[0].b").sends("ship[1].a")


def test_an_element_that_has_passed_is_not_given_a_new_step() -> None:
    def loop(*inside: Block) -> Block:
        return each(3, sequence(*inside), name="ship")

    story = Story(old(loop(step("a")))).starts(BEGUN).sends("ship[0].a").succeeds("ship[0].a").sends("ship[1].a")
    story.migrates(new(loop(step("a"), step("b")))).ignored("not-migratable")
    story.because("ship[0].b follows in the sequence around a, which it has finished: it would never run")


def test_in_a_repeat_the_round_goes_on() -> None:
    def loop(count: int) -> Block:
        return rounds(count, step("a"), counted="a", name="again")

    story = Story(old(loop(2))).starts(BEGUN).sends("again[0].a").succeeds("again[0].a", marked("again[0]"))
    story.sends("again[1].a").migrates(new(loop(3))).succeeds("again[1].a", marked("again[1]")).sends("again[2].a")


def marked(at: str) -> Done:
    return Done(job_id="j1", step="a", mark=f"lab:j1/{at}.a/1")


def test_held_it_is_still_held_and_a_person_decides() -> None:
    held = step("a", on_failure="hold", retry=ONCE)
    story = Story(old(held)).starts(BEGUN).sends("a").fails("a").is_stuck("a")
    story.migrates(new(held, step("b"))).is_stuck("a").operator("retry").sends("a").succeeds("a").sends("b")


def test_stuck_past_the_pivot_it_stays_stuck_until_it_is_skipped() -> None:
    body = (step("a"), pivot(), step("p", undo=False, retry=ONCE))
    story = Story(old(*body)).starts(BEGUN).sends("a").succeeds("a").sends("p").fails("p").is_stuck("p")
    story.migrates(new(*body, step("q", undo=False))).is_stuck("p").operator("skip").sends("q").succeeds("q")
    story.ends("completed")


def test_stuck_at_a_builder_the_new_version_mends_it() -> None:
    broken, mended = step("b", raises=ValueError("a bug")), step("b")
    story = Story(old(step("a"), broken)).starts(BEGUN).sends("a").succeeds("a").is_stuck("b", reason="a bug")
    story.migrates(new(step("a"), mended)).is_stuck("b").operator("retry").sends("b").succeeds("b").ends("completed")


def test_compensating_it_goes_on_undoing_and_ends_as_the_new_version_says() -> None:
    blocks = (step("a"), step("b", retry=ONCE))
    story = Story(old(*blocks)).starts(BEGUN).sends("a").succeeds("a").sends("b").fails("b").undoes("a", covers=(1,))
    story.migrates(new(*blocks, step("c"), cancelled=told_ending())).undone("a")
    assert told_names(story) == ["over"]
    story.ends("compensated")


def test_a_stuck_undo_is_tried_again_by_the_new_version() -> None:
    blocks = (step("a", undo_policy={"retry": ONCE}), step("b", retry=ONCE))
    story = Story(old(*blocks)).starts(BEGUN).sends("a").succeeds("a").sends("b").fails("b").undoes("a")
    story.undo_fails("a", retryable=False).is_stuck("a/undo").migrates(new(*blocks)).operator("retry").undoes("a")
    assert story.undo("a").id == "lab:j1/a/undo/2"
    story.undone("a").ends("compensated")


def test_in_the_last_block_it_goes_on_there() -> None:
    last = sequence(step("sorry", undo=False), told_ending())
    story = Story(old(step("a", retry=ONCE), cancelled=last)).starts(BEGUN).sends("a").fails("a").sends("sorry")
    more = sequence(step("sorry", undo=False), told("news"), told_ending())
    story.migrates(new(step("a"), step("b"), cancelled=more)).succeeds("sorry")
    assert told_names(story) == ["news", "over"]
    gone = Story(old(step("a", retry=ONCE), cancelled=last)).starts(BEGUN).sends("a").fails("a").sends("sorry")
    gone.migrates(new(step("a"))).ignored("not-migratable").because("version 2 has no cancelled=")


def test_the_deadline_stays_what_it_was() -> None:
    story = Story(old(arrival(), deadline=timedelta(minutes=30))).starts(BEGUN)
    story.migrates(new(arrival(), deadline=timedelta(days=9))).passes(timedelta(minutes=30)).ends("cancelled")


# Names.


def test_a_renamed_step_is_answered_undone_and_tried_under_its_first_name() -> None:
    story = Story(old(step("a"), step("b"))).starts(BEGUN).sends("a").succeeds("a").sends("b")
    story.migrates(new(step("x", retry=ONCE), step("y", retry=ONCE), renamed={"a": "x", "b": "y"}))
    assert set(story.process.steps) == {"x", "y"} and set(story.process.timers) == {"y/silence"}
    story.passes(timedelta(seconds=30)).resends("y")
    sent = story.fed[-1].sent[0]
    assert (sent.id, sent.again) == ("lab:j1/b/1", True)
    story.answers("lab:j1/b/1", Done(job_id="j1", step="b")).ends("completed")


def test_the_undo_of_a_renamed_step_covers_the_ids_that_were_sent() -> None:
    blocks = (step("a"), step("b", retry=ONCE))
    renamed = (step("x"), step("b", retry=ONCE))
    story = Story(old(*blocks)).starts(BEGUN).sends("a").succeeds("a").sends("b")
    story.migrates(new(*renamed, renamed={"a": "x"})).fails("b").undoes("x", covers=(1,))
    assert story.undo("x").id == "lab:j1/a/undo/1" and story.undo("x").envelope.undoes == ("lab:j1/a/1",)
    story.undone("x").ends("compensated")


def test_a_late_success_of_a_renamed_step_is_undone() -> None:
    story = Story(old(step("a"), step("w"))).starts(BEGUN).sends("a").silent("a").undoes("a", covers=(1,))
    story.migrates(new(step("x"), step("w"), renamed={"a": "x"})).undone("a").ends("compensated")
    story.answers("lab:j1/a/1", Done(job_id="j1", step="a")).undoes("x", covers=(1,))
    assert story.undo("x").id == "lab:j1/a/undo/2"
    story.undone("x").ends("compensated")


def test_a_loop_is_renamed_with_what_is_in_it() -> None:
    story = Story(old(each(2, step("a"), name="ship"))).starts(BEGUN).sends("ship[0].a")
    story.migrates(new(each(2, step("a"), name="deliver"), renamed={"ship": "deliver"}))
    story.answers("lab:j1/ship[0].a/1", Done(job_id="j1", step="a")).sends("deliver[1].a")
    story.succeeds("deliver[1].a").ends("completed")


def test_a_name_is_not_given_to_another_step_while_ids_have_it() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a")
    story.migrates(new(step("x"), step("a"), renamed={"a": "x"})).ignored("not-migratable")
    story.because("its commands are known as a, which is another block in version 2")


def test_it_may_be_moved_again_and_back_to_its_first_name() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a").migrates(new(step("x"), renamed={"a": "x"}))
    third = replace(lab_saga(sequence(step("a"))), version=3, migrates=(Migration(2, {"x": "a"}),))
    story.migrates(third)
    assert story.process.steps["a"].sent_as is None
    story.succeeds("a").ends("completed")


# What is new may only stand ahead.


def awaiting_b() -> Story:
    return Story(old(step("a"), step("b"))).starts(BEGUN).sends("a").succeeds("a").sends("b")


@pytest.mark.parametrize(
    ("newer", "why"),
    [
        (new(step("n"), step("a"), step("b")), "n is new in version 2 and stands at or before a"),
        (new(step("a"), step("n"), step("b")), "n is new in version 2 and stands at or before b"),
        (new(step("b")), "b stands where a should be"),
        (new(step("a")), "it has passed b, which is not in its place in version 2"),
        (new(step("b"), step("a")), "b stands where a should be"),
        (new(parallel(step("a"), step("b"))), "a is a command, and in its place is the parallel around a, a parallel"),
        (new(step("a"), sequence(step("b"))), "in its place is the sequence around b"),
        (new(step("a", undo=False, irreversible=True), step("b")), "a is undone by lab.revert.v1, and then by nothing"),
        (new(step("a"), told("b")), "b is a command, and in its place is b, a emit"),
    ],
)
def test_the_past_is_not_rewritten(newer: Saga, why: str) -> None:
    awaiting_b().migrates(newer).ignored("not-migratable").because(why).goes_on()


def test_what_has_not_begun_may_be_anything() -> None:
    blocks = (step("a"), choice(when(predicate("always"), step("b"))), step("c"))
    other = (step("a"), parallel(step("d"), told("e")), pivot(), step("f", undo=False))
    story = Story(old(*blocks)).starts(BEGUN).sends("a").migrates(new(*other)).succeeds("a").sends("d")
    assert told_names(story) == ["e"]
    story.succeeds("d").sends("f").succeeds("f").ends("completed")


def test_branches_of_a_parallel_that_has_begun_may_change_places_and_grow_inside() -> None:
    story = Story(old(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b")
    story.migrates(new(parallel(step("b"), step("a")), step("c"))).succeeds("b").succeeds("a").sends("c")


def test_a_parallel_that_has_begun_gets_no_new_branch_but_one_that_has_not_does() -> None:
    two = Story(old(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b")
    two.migrates(new(parallel(step("a"), step("b"), step("c")))).ignored("not-migratable")
    two.because("c is a new branch of it: it would never run")
    lost = Story(old(parallel(step("a"), step("b")))).starts(BEGUN).sends("a", "b")
    lost.migrates(new(parallel(step("a"), step("c")))).ignored("not-migratable").because("it has passed b")
    ahead = Story(old(step("z"), parallel(step("a"), step("b")))).starts(BEGUN).sends("z")
    ahead.migrates(new(step("z"), parallel(step("a"), step("b"), step("c")))).succeeds("z").sends("a", "b", "c")


def test_a_choice_that_was_made_stays_made_whatever_its_predicates_are_now() -> None:
    first = choice(when(predicate("always"), step("a")), otherwise(step("b")))
    second = choice(when(predicate("never"), step("n")), when(predicate("never"), step("a")), otherwise(step("b")))
    story = Story(old(first)).starts(BEGUN).sends("a").migrates(new(second, step("c")))
    assert story.process.nodes["#1"].count == 1
    story.succeeds("a").sends("c")
    gone = Story(old(first)).starts(BEGUN).sends("a")
    gone.migrates(new(choice(when(predicate("always"), step("n")), otherwise(step("b"))))).ignored("not-migratable")
    gone.because("it has passed a, which is no branch of the choice around a in version 2")


def test_alternatives_may_follow_the_one_that_is_tried() -> None:
    story = Story(old(fallback(step("a", retry=ONCE), step("b", retry=ONCE)))).starts(BEGUN).sends("a")
    three = fallback(step("a", retry=ONCE), step("b", retry=ONCE), step("c"))
    story.migrates(new(three)).fails("a").sends("b").fails("b").sends("c").succeeds("c").ends("completed")
    other = Story(old(fallback(step("a"), step("b")))).starts(BEGUN).sends("a")
    other.migrates(new(fallback(step("n"), step("a")))).ignored("not-migratable").because("n is new in version 2")


def test_blocks_without_names_are_found_though_their_numbers_change() -> None:
    first = (parallel(step("a"), step("b")), step("c"))
    second = (parallel(sequence(step("a"), step("n")), step("b")), step("c"))
    refused = Story(old(*first)).starts(BEGUN).sends("a", "b").migrates(new(*second)).ignored("not-migratable")
    refused.because("between the versions a is a command, and in its place is the sequence around a")
    grown = (
        parallel(sequence(step("a"), choice(when(predicate("always"), step("n")))), sequence(step("b"))),
        step("c"),
    )
    story = Story(old(parallel(sequence(step("a")), sequence(step("b"))), step("c"))).starts(BEGUN).sends("a", "b")
    assert set(story.process.nodes) == {"#0", "#1", "#2", "#4"}
    story.migrates(new(*grown))
    assert set(story.process.nodes) == {"#0", "#1", "#2", "#6"}
    story.succeeds("a").sends("n").succeeds("n").succeeds("b").sends("c").succeeds("c").ends("completed")


def test_the_pivot_is_not_moved_over_a_process() -> None:
    story = Story(old(step("a"), pivot(), step("p", undo=False))).starts(BEGUN).sends("a").succeeds("a").sends("p")
    story.migrates(new(step("a"), step("p", undo=False))).ignored("not-migratable").because("the pivot")


# What is still to run finds what it needs.


def test_a_choice_that_took_no_branch_leaves_a_later_demand_unmet() -> None:
    first = (choice(when(predicate("never"), step("a"))), step("w"))
    second = (choice(when(predicate("never"), step("a")), otherwise(step("a2"))), step("w"), step("z", needs="a2"))
    story = Story(old(*first)).starts(BEGUN).sends("w").migrates(new(*second)).ignored("not-migratable")
    story.because("z demands Done from a2, which has passed without it")


def test_a_step_that_was_skipped_without_an_outcome_leaves_a_later_demand_unmet() -> None:
    first = (step("a", on_failure="hold", retry=ONCE), step("w"))
    story = Story(old(*first)).starts(BEGUN).sends("a").fails("a").operator("skip").sends("w")
    story.migrates(new(*first, step("z", needs="a"))).ignored("not-migratable").because("z demands Done from a")
    given = Story(old(*first)).starts(BEGUN).sends("a").fails("a")
    given.operator("skip", outcome=Done(job_id="j1", step="a")).sends("w").migrates(new(*first, step("z", needs="a")))
    given.succeeds("w").sends("z")


def test_a_demand_for_what_is_still_under_way_is_met() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a").migrates(new(step("a"), step("z", needs="a")))
    story.succeeds("a").sends("z")
    looped = Story(old(each(2, step("a"), name="ship"))).starts(BEGUN).sends("ship[0].a")
    body = sequence(step("a"), step("z", needs="a"))
    looped.migrates(new(each(2, body, name="ship"))).ignored("not-migratable").because("in its place is the sequence")


# What cannot be.


def test_without_a_declared_migration_nothing_moves() -> None:
    undeclared = replace(old(step("a")), version=2)
    Story(old(step("a"))).starts(BEGUN).sends("a").migrates(undeclared).ignored("not-migratable").because(
        "version 2 does not say migrates=(Migration(from_version=1),)"
    )


def test_what_a_person_saw_must_still_hold() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a")
    story.migrates(new(step("a")), revision=0).ignored("stale")
    story = Story(old(step("a"))).starts(BEGUN).sends("a")
    story.migrates(new(step("a")), from_version=5).ignored("stale")


def test_a_request_that_comes_twice_is_stale_the_second_time() -> None:
    Story(old(step("a"))).starts(BEGUN).sends("a").migrates(new(step("a"))).repeats().ignored("stale")


def test_what_has_ended_stays_where_it_ended() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a").succeeds("a").ends("completed")
    story.migrates(new(step("a"))).ignored("not-migratable").because("it has ended (completed)")


def test_a_form_that_became_another_is_refused_while_it_is_waited_for_and_afterwards() -> None:
    class Other(BaseModel):
        amount: int

    def signed(form: type[BaseModel] | None) -> Block:
        return approval("sign", role="clerk", form=form, limit=HOUR)

    waiting = Story(old(signed(Form))).starts(BEGUN)
    waiting.migrates(new(signed(Other))).ignored("not-migratable").because("sign waits for form/Form, and then")


def test_an_escalation_is_neither_gained_nor_lost_on_the_way() -> None:
    plain = approval("sign", role="clerk", limit=HOUR)
    escalating = approval("sign", role="clerk", limit=HOUR, escalation=(timedelta(minutes=5), "boss"))
    for one, other in ((plain, escalating), (escalating, plain)):
        story = Story(old(one)).starts(BEGUN).migrates(new(other)).ignored("not-migratable")
        story.because("sign waits for a decision, and escalates in one version and not in the other")


def test_a_build_without_the_newer_version_pauses_the_shard() -> None:
    story = Story(old(step("a"))).starts(BEGUN).sends("a").migrates(new(step("a")))
    request: Input = story.last.item
    alone = Story(old(step("a"))).starts(BEGUN).sends("a")
    with pytest.raises(UnknownVersion, match="version 2"):
        alone.receives(request.envelope, request.data)


def test_a_migration_comes_from_an_older_version_and_each_once() -> None:
    with pytest.raises(SagaError, match="each older version once"):
        replace(new(step("a")), version=1)
    with pytest.raises(SagaError, match="each older version once"):
        replace(new(step("a")), version=3, migrates=(Migration(1), Migration(1)))
    with pytest.raises(ValueError, match="become one"):
        Migration(1, {"a": "x", "b": "x"})
