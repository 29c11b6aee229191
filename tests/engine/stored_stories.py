"""Processes in the middle of waits, decisions and troubles: stored with prefix v3 (see store_states.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from orchestrator.engine.process import Process
from orchestrator.language import Retry, Saga, command, fallback, parallel, pivot, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, DoneElse, Told, lab_saga, step, told, told_ending
from tests.engine.test_approval import act_on, review
from tests.engine.test_waits import ELSE, GOODS, Released, arrival, book_in, release

WAIT_PREFIX = "v3"
ONCE = Retry(attempts=1)
HOUR = timedelta(hours=1)
WAITS = lab_saga(
    sequence(
        step("a"),
        parallel(arrival(), release(), review((HOUR, "boss")), step("b", on_failure="hold", retry=ONCE)),
        command(book_in, irreversible=True),
        command(act_on, irreversible=True),
    ),
    cancelled=told_ending(),
)
UNDOES = lab_saga(
    sequence(
        parallel(step("a", undo_policy={"retry": Retry(attempts=2)}), step("b"), step("c"), step("e", retry=ONCE)),
        step("d"),
    ),
    cancelled=told_ending(),
)
FORWARD = lab_saga(
    sequence(
        step("a"), told("t"), pivot(), step("b"), step("c", retry=Retry(attempts=2, first=4 * HOUR, maximum=4 * HOUR))
    ),
    deadline=timedelta(hours=2),
)


ALTERNATIVES = lab_saga(
    sequence(fallback(step("a"), sequence(step("b"), step("c"))), step("d", retry=ONCE)), deadline=timedelta(minutes=10)
)


def blocking(raises: Exception | None = None, undo_raises: Exception | None = None) -> Saga:
    """Its second builder, or its undo, raises until it is mended."""
    return lab_saga(parallel(sequence(step("a", undo_raises=undo_raises), step("b", raises=raises)), step("c")))


@dataclass(frozen=True, slots=True)
class Stored:
    """`story` ends where the state is stored; under `saga` (another build's, perhaps) it goes on to `phase`."""

    story: Callable[[], Story | Process]
    saga: Saga
    phase: Literal["completed", "compensated", "cancelled", "limiter", "expired"]

    def state(self) -> Process:
        told = self.story()
        return told.process if isinstance(told, Story) else told


def begun(saga: Saga) -> Story:
    return Story(saga).starts(Begun(job_id="j1"))


# Waits and people.


def waiting() -> Story:
    return begun(WAITS).sends("a").succeeds("a").sends("b").goes_on()


def arrived() -> Story:
    """Only the review is open; something else has come that nothing waits for yet."""
    return waiting().happens(GOODS).signals(Released(by="ann")).succeeds("b").goes_on()


def escalated() -> Story:
    return waiting().succeeds("b").passes(timedelta(hours=2)).goes_on()


def early() -> Story:
    story = Story(WAITS).happens(GOODS).keeps(GOODS.type)
    return story.signals(Released(by="ann")).keeps(GOODS.type, "signal/released")


def early_taken_over() -> Story:
    """It has begun, and nothing waits for what is kept yet."""
    return (
        early()
        .starts(Begun(job_id="j1"))
        .sends("a")
        .happens(ELSE, id="else")
        .keeps(GOODS.type, "signal/released", ELSE.type)
    )


def rejected() -> Story:
    return waiting().succeeds("b").approves("review", {"score": 0}, no=True).undoes("b")


def held() -> Story:
    return waiting().fails("b").is_stuck("b", reason="held")


def renewed() -> Story:
    """Silent, then an operator has it sent again."""
    return waiting().silent("b").operator("retry").resends("b")


def retried_by_hand() -> Story:
    """The policy has used its tries up, and an operator asked for one more."""
    return held().operator("retry").sends("b")


def skipped() -> Story:
    return waiting().silent("b").operator("skip").goes_on()


# Undoing.


def undoing() -> Story:
    """`e` is refused. `a`: its undo has failed once; `b`: undone; `c`: perhaps done."""
    story = begun(UNDOES).sends("a", "b", "c", "e").succeeds("a").succeeds("b", DoneElse(job_id="j1", step="b"))
    story.refuses("e").undoes("a", "b").undone("b").undo_fails("a")
    return story.fails("c", effect="unknown").undoes("c")


def undo_stuck() -> Story:
    story = undoing().waits_until("a/undo/1/retry").undoes("a").undo_fails("a", retryable=False)
    return story.is_stuck("a/undo")


def undo_retried_by_hand() -> Story:
    return undo_stuck().operator("retry").undoes("a")


def undo_skipped() -> Story:
    return undo_stuck().operator("skip").goes_on()


def late_success() -> Story:
    """The undo of `c` is under way when `c` turns out to have been done."""
    return undoing().succeeds("c", Done(job_id="j1", step="c", mark="late"))


def alternatives() -> Story:
    """The first was given up and is undone; then the deadline passes."""
    story = begun(ALTERNATIVES).sends("a").fails("a", effect="unknown").sends("b").undoes("a").undone("a")
    return story.waits_until("deadline").goes_on()


def failed() -> Story:
    story = begun(ALTERNATIVES).sends("a").succeeds("a").sends("d")
    return story.fails("d", retryable=False).undoes("a")


def called_off() -> Story:
    return waiting().cancels().goes_on()


def called_off_at_its_end() -> Story:
    story = begun(WAITS).sends("a").cancels().refuses("a")
    assert story.emitted(Told).reason == "operator"
    return story.ends("cancelled")


def late_at_its_end() -> Story:
    """Everything was undone, and ended, when a success comes."""
    story = failed().undone("a").ends("compensated")
    return story.succeeds("d").undoes("d")


# Forward, and trouble.


def past_pivot() -> Story:
    """Late too: the deadline has passed, and only alerts."""
    story = begun(FORWARD).sends("a").succeeds("a")
    assert story.emitted(Told).name == "t"
    story.sends("b").succeeds("b").sends("c").fails("c", effect="none")
    return story.passes(timedelta(hours=3)).goes_on()


def blocked() -> Story:
    return begun(blocking(ValueError("boom"))).sends("a", "c").succeeds("a").is_stuck("b")


def blocked_and_given_up() -> Story:
    return blocked().operator("compensate").undoes("a")


def undo_blocked() -> Story:
    saga = blocking(undo_raises=ValueError("boom"))
    story = begun(saga).sends("a", "c").succeeds("a", Done(job_id="j1", step="a", mark="m")).sends("b")
    return story.succeeds("c").refuses("b").undoes("c").is_stuck("a/undo")


def completed() -> Story:
    story = begun(FORWARD).sends("a").succeeds("a")
    assert story.emitted(Told).name == "t"
    return story.sends("b").succeeds("b").sends("c").succeeds("c").ends("completed")


STORED: dict[str, Stored] = {
    "waiting": Stored(waiting, WAITS, "completed"),
    "arrived": Stored(arrived, WAITS, "completed"),
    "escalated": Stored(escalated, WAITS, "completed"),
    "early": Stored(early, WAITS, "completed"),
    "early-taken-over": Stored(early_taken_over, WAITS, "completed"),
    "rejected": Stored(rejected, WAITS, "compensated"),
    "held": Stored(held, WAITS, "completed"),
    "renewed": Stored(renewed, WAITS, "completed"),
    "retried-by-hand": Stored(retried_by_hand, WAITS, "completed"),
    "skipped": Stored(skipped, WAITS, "completed"),
    "undoing": Stored(undoing, UNDOES, "compensated"),
    "undo-stuck": Stored(undo_stuck, UNDOES, "compensated"),
    "undo-retried-by-hand": Stored(undo_retried_by_hand, UNDOES, "compensated"),
    "undo-skipped": Stored(undo_skipped, UNDOES, "compensated"),
    "alternatives": Stored(alternatives, ALTERNATIVES, "cancelled"),
    "failed": Stored(failed, ALTERNATIVES, "compensated"),
    "called-off": Stored(called_off, WAITS, "cancelled"),
    "called-off-at-its-end": Stored(called_off_at_its_end, WAITS, "cancelled"),
    "late-at-its-end": Stored(late_at_its_end, ALTERNATIVES, "compensated"),
    "late-success": Stored(late_success, UNDOES, "compensated"),
    "past-pivot": Stored(past_pivot, FORWARD, "completed"),
    "blocked": Stored(blocked, blocking(), "completed"),
    "blocked-and-given-up": Stored(blocked_and_given_up, blocking(), "cancelled"),
    "undo-blocked": Stored(undo_blocked, blocking(), "compensated"),
    "completed": Stored(completed, FORWARD, "completed"),
}
