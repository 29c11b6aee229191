"""`on_stuck`: alerts that begin whenever a process waits for a person, and are given up as soon as one has decided.

Annotations are evaluated here (no `from __future__ import annotations`): builders are made in functions.
"""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.message import Event, Identifier
from orchestrator.engine.fingerprint import fingerprint
from orchestrator.language import (
    From,
    Migration,
    Retry,
    Saga,
    SagaError,
    Stuck,
    choice,
    emit,
    otherwise,
    pivot,
    repeat,
    sequence,
    sleep,
    when,
)
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.explore import explore
from orchestrator.testkit.grammar import random_saga
from orchestrator.testkit.lab import Begun, Done, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
MINUTE, HALF_HOUR = timedelta(minutes=1), timedelta(minutes=30)
ONCE = Retry(attempts=1)
UNDO_ONCE = {"retry": ONCE}


class Paged(Event, type="lab.paged.v1"):
    job_id: Identifier
    who: str
    at: str
    why: str
    number: int
    saw: str | None = None


def page(begun: Begun, stuck: Stuck) -> Paged:
    return Paged(job_id=begun.job_id, who="clerk", at=stuck.address, why=stuck.reason, number=stuck.number)


def page_what_is_done(begun: Begun, stuck: Stuck, done: Annotated[Done | None, From("a")]) -> Paged:
    seen = None if done is None else done.step
    return Paged(job_id=begun.job_id, who="clerk", at=stuck.address, why=stuck.reason, number=stuck.number, saw=seen)


def escalate(begun: Begun, stuck: Stuck) -> Paged:
    return Paged(job_id=begun.job_id, who="boss", at=stuck.address, why=stuck.at.isoformat(), number=stuck.number)


def never(begun: Begun) -> bool:
    return False


def again_and_again(begun: Begun, stuck: Stuck) -> bool:
    return stuck.number > 1


def alerts() -> Block:
    """Page the clerk; after half an hour the boss; all that at most three times."""
    return repeat(
        sequence(emit(page), sleep(HALF_HOUR, name="patience"), emit(escalate), sleep(HALF_HOUR, name="more")),
        until=never,
        bound=3,
        name="calls",
    )


def stuck_at_p(on_stuck: Block, *more: Block, **options: Any) -> Story:
    """Past the pivot, `p` has failed."""
    saga = replace(lab_saga(sequence(pivot(), step("p", undo=False, retry=ONCE), *more), **options), on_stuck=on_stuck)
    return Story(saga).starts(BEGUN).sends("p").fails("p").is_stuck("p")


def test_it_begins_at_once_and_goes_on_by_its_own_time_while_the_process_stays_stuck() -> None:
    story = stuck_at_p(alerts())
    first = story.emitted(Paged)
    assert (first.who, first.at, first.why, first.number, first.saw) == ("clerk", "p", "failed", 1, None)
    assert story.last.sent[0].id == "lab:j1/on_stuck[1].calls[0].page"
    story.passes(HALF_HOUR).is_stuck("p")
    second = story.emitted(Paged)
    assert (second.who, second.why) == ("boss", "2026-01-01T09:00:00+00:00")
    assert story.process.phase == "stuck"
    story.passes(HALF_HOUR)
    assert story.emitted(Paged).who == "clerk"


def test_it_is_told_what_the_process_has_captured_or_none() -> None:
    body = sequence(step("a"), pivot(), step("p", undo=False, retry=ONCE))
    story = Story(replace(lab_saga(body), on_stuck=emit(page_what_is_done))).starts(BEGUN).sends("a").succeeds("a")
    story.sends("p").fails("p")
    assert story.emitted(Paged).saw == "a"
    broken_a = sequence(step("a", raises=ValueError("a bug")))
    early = Story(replace(lab_saga(broken_a), on_stuck=emit(page_what_is_done))).starts(BEGUN)
    assert early.emitted(Paged).saw is None


def test_after_its_last_round_it_is_over_and_the_process_stays_stuck() -> None:
    story = stuck_at_p(alerts())
    for _ in range(6):
        story.emitted(Paged)
        story.passes(HALF_HOUR)
    story.is_stuck("p").because("calls is not done after 3 rounds")
    assert story.process.timers == {} and set(story.process.steps) == {"p"}
    assert story.process.nodes["on_stuck"].status == "done"
    story.operator("retry").sends("p").succeeds("p").ends("completed")


def test_it_is_given_up_as_soon_as_a_person_has_decided() -> None:
    story = stuck_at_p(alerts())
    story.emitted(Paged)
    assert set(story.process.timers) == {"on_stuck[1].calls[0].patience/wake"}
    story.operator("retry").sends("p").announces("resumed")
    assert set(story.process.timers) == {"p/silence"} and not any("on_stuck[" in key for key in story.process.steps)
    story.timer_fires("on_stuck[1].calls[0].patience/wake").ignored("stale")
    story.succeeds("p").ends("completed")


def test_the_next_time_it_begins_anew_under_other_ids() -> None:
    story = stuck_at_p(alerts())
    story.emitted(Paged)
    story.operator("retry").sends("p").fails("p").is_stuck("p")
    assert story.emitted(Paged).number == 2
    assert "lab:j1/on_stuck[2].calls[0].page" in [sent.id for sent in story.last.sent]


def test_one_more_stuck_step_is_not_another_time() -> None:
    body = (step("a", undo_policy=UNDO_ONCE), step("b", undo_policy=UNDO_ONCE), step("c", retry=ONCE))
    saga = replace(lab_saga(sequence(*body)), on_stuck=alerts())
    story = Story(saga).starts(BEGUN).sends("a").succeeds("a").sends("b").succeeds("b").sends("c").fails("c")
    story.undoes("b").undo_fails("b", retryable=False).is_stuck("b/undo")
    assert story.emitted(Paged).at == "b/undo"
    story.operator("skip").undoes("a").undo_fails("a", retryable=False).is_stuck("a/undo")
    assert (said := story.emitted(Paged)).number == 2 and said.at == "a/undo"


def test_a_retry_that_fails_in_the_same_turn_is_not_another_time() -> None:
    saga = replace(lab_saga(sequence(step("a", raises=ValueError("a bug")))), on_stuck=alerts())
    story = Story(saga).starts(BEGUN).is_stuck("a", reason="a bug")
    story.emitted(Paged)
    story.operator("retry").is_stuck("a").announces()
    assert story.process.nodes["on_stuck"].count == 1 and story.last.sent == ()


def test_a_late_success_after_the_end_calls_for_a_person_and_the_process_ends_again() -> None:
    body = sequence(pivot(), step("p", undo=False, retry=Retry(attempts=2)), step("q", undo=False))
    story = Story(replace(lab_saga(body), on_stuck=alerts())).starts(BEGUN).sends("p").fails("p")
    story.passes(timedelta(seconds=1)).sends("p").succeeds("p", number=2).sends("q").succeeds("q").ends("completed")
    story.late("p", number=1).is_stuck("p/undo")
    assert story.emitted(Paged).at == "p/undo"
    story.operator("skip").ends("completed")
    assert story.process.timers == {}


def test_choices_see_the_process_and_what_is_stuck() -> None:
    block = choice(when(again_and_again, emit(escalate)), otherwise(emit(page)))
    story = stuck_at_p(block)
    assert story.emitted(Paged).who == "clerk"
    assert story.process.nodes["on_stuck"].status == "done"
    story.operator("retry").sends("p").fails("p")
    assert story.emitted(Paged).who == "boss"


def broken(begun: Begun, stuck: Stuck) -> Paged:
    raise ValueError("no idea whom to call")


def broken_until(begun: Begun) -> bool:
    raise ValueError("no idea when")


@pytest.mark.parametrize(
    "block",
    [
        sequence(emit(broken), sleep(MINUTE, name="nap")),
        repeat(told("news"), until=broken_until, bound=2),
        choice(when(broken_until, told("never"))),
    ],
)
def test_a_bug_in_an_alert_disturbs_nothing(block: Block) -> None:
    story = stuck_at_p(block)
    story.alerts("on-stuck-failed").because("cannot alert anybody", "no idea").tells(
        *(one.step for one in story.last.sent if one.kind == "emit")
    )
    assert dict(story.process.stuck) == {"p": "failed"} and story.process.timers == {}
    story.operator("retry").sends("p").succeeds("p").ends("completed")


def test_while_compensating_the_cancelled_block_still_comes_last() -> None:
    body = sequence(step("a", undo_policy=UNDO_ONCE), step("b", retry=ONCE))
    story = Story(replace(lab_saga(body, cancelled=told_ending()), on_stuck=alerts())).starts(BEGUN)
    story.sends("a").succeeds("a").sends("b").fails("b").undoes("a").undo_fails("a", retryable=False)
    assert story.emitted(Paged).at == "a/undo"
    story.operator("skip").tells("over").ends("compensated")


def test_moved_to_another_version_while_stuck_its_alerts_begin_anew() -> None:
    story = stuck_at_p(alerts())
    story.emitted(Paged)
    newer = replace(story.saga, version=2, on_stuck=emit(escalate), migrates=(Migration(1),))
    story.migrates(newer).is_stuck("p")
    assert (said := story.emitted(Paged)).who == "boss" and said.number == 2
    gone = stuck_at_p(alerts())
    gone.emitted(Paged)
    gone.migrates(replace(gone.saga, version=2, on_stuck=None, migrates=(Migration(1),))).is_stuck("p")
    assert gone.process.timers == {}
    gone.operator("retry").sends("p").succeeds("p").ends("completed")


def test_a_saga_without_alerts_has_the_fingerprint_that_it_had() -> None:
    plain = lab_saga(sequence(step("a")))
    assert fingerprint(replace(plain, on_stuck=None, migrates=())) == fingerprint(plain)
    assert fingerprint(replace(plain, on_stuck=told("news"))) != fingerprint(plain)


def test_no_block_is_called_like_the_place_of_alerts() -> None:
    with pytest.raises(SagaError, match="on_stuck"):
        replace(lab_saga(sequence(step("on_stuck"))), on_stuck=told("news"))


@settings(derandomize=True, max_examples=200, deadline=None, database=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_whatever_happens_alerts_change_nothing(seed: int) -> None:
    """The explorer's judges do not look at them; every invariant holds with them all the same."""
    random = Random(seed)
    saga: Saga = replace(random_saga(random), on_stuck=alerts())
    explore(random, saga)
