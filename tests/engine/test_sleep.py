"""`sleep`, `sleep_until`: one timer, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest

from orchestrator.engine.process import encode_process
from orchestrator.language import fallback, parallel, sequence, sleep, sleep_until
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Told, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import MOMENT, each, pause_until

BEGUN = Begun(job_id="j1")
DAY = timedelta(days=1)


def test_time_passes() -> None:
    story = Story(lab_saga(sequence(sleep(DAY, name="nap"), step("a")))).starts(BEGUN).goes_on()
    story.passes(DAY - timedelta(milliseconds=1)).goes_on().passes(timedelta(milliseconds=1)).sends("a")
    Story(lab_saga(sequence(sleep(DAY, name="nap"), step("a")))).starts(BEGUN).waits_until("nap/wake").sends("a")


def test_a_process_that_sleeps_a_year_costs_a_timer() -> None:
    story = Story(lab_saga(sequence(sleep(365 * DAY, name="nap"), step("a")))).starts(BEGUN)
    assert list(story.process.timers) == ["nap/wake"]
    assert len(encode_process(story.process)) < 500
    story.passes(364 * DAY).goes_on()
    assert len(story.fed) == 1
    story.passes(DAY).sends("a")


def test_no_time_at_all() -> None:
    Story(lab_saga(sequence(sleep(timedelta(0), name="nap"), step("a")))).starts(BEGUN).sends("a")


def test_until_a_moment() -> None:
    story = Story(lab_saga(sequence(pause_until("dawn"), step("a")))).starts(BEGUN).goes_on()
    story.waits_until("dawn/wake").sends("a")
    assert story.now_ms == MOMENT.timestamp() * 1000
    other = MOMENT.astimezone(timezone(timedelta(hours=5)))
    Story(lab_saga(pause_until("dawn", other))).starts(BEGUN).waits_until("dawn/wake").ends("completed")


def test_a_past_moment_is_now() -> None:
    Story(lab_saga(sequence(pause_until("dawn", datetime(1, 1, 1, tzinfo=UTC)), step("a")))).starts(BEGUN).sends("a")


class Nowhere(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None


class Broken(Nowhere):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        raise LookupError


@pytest.mark.parametrize("zone", [None, Nowhere(), Broken()])
def test_a_moment_without_a_place_is_stuck(zone: tzinfo | None) -> None:
    Story(lab_saga(pause_until("dawn", MOMENT.replace(tzinfo=zone)))).starts(BEGUN).is_stuck(
        "dawn", reason="UTC offset"
    )


def test_a_moment_that_cannot_be_told_is_stuck_until_mended_skipped_or_given_up() -> None:
    def saga(bug: Exception | None) -> object:
        return lab_saga(sequence(step("a"), pause_until("dawn", raises=bug), told("after")), cancelled=told_ending())

    def stuck() -> Story:
        story = Story(saga(KeyError("bug"))).starts(BEGUN).sends("a").succeeds("a")  # type: ignore[arg-type]
        return story.is_stuck("dawn", reason="bug")

    stuck().deploys(saga(None)).operator("retry").announces("resumed").waits_until("dawn/wake").emitted(Told)  # type: ignore[arg-type]
    stuck().operator("skip").emitted(Told)
    story = stuck().operator("compensate").undoes("a").undone("a")
    story.emitted(Told)
    story.ends("cancelled")


def test_an_early_or_repeated_timer_wakes_nobody() -> None:
    story = Story(lab_saga(sequence(sleep(DAY, name="nap"), step("a")))).starts(BEGUN)
    story.timer_fires("nap/wake").ignored("premature").passes(DAY).sends("a").repeats().ignored("stale")


def test_it_is_given_up_at_once_when_a_sibling_fails() -> None:
    story = Story(lab_saga(parallel(sequence(sleep(DAY, name="nap"), step("b")), step("a")))).starts(BEGUN).sends("a")
    story.refuses("a").ends("compensated")
    assert story.process.timers == {}


def test_it_is_given_up_at_the_deadline() -> None:
    story = Story(lab_saga(sequence(step("a"), sleep(DAY, name="nap")), deadline=timedelta(hours=1))).starts(BEGUN)
    story.sends("a").succeeds("a").passes(timedelta(hours=1)).undoes("a").undone("a").ends("cancelled")


def test_nothing_of_it_is_undone() -> None:
    body = sequence(step("a"), sleep(DAY, name="nap"), step("b"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").passes(DAY).sends("b").silent("b")
    story.undoes("b").undone("b").undoes("a").undone("a").ends("compensated").late("b").undoes("b")


def test_three_deep() -> None:
    body = fallback(each(2, parallel(sleep(DAY, name="nap"), step("a")), name="ship", concurrency=2), step("z"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].a", "ship[1].a").succeeds("ship[0].a")
    story.refuses("ship[1].a").sends("z").undoes("ship[0].a").succeeds("z").undone("ship[0].a").ends("completed")
    assert sleep_until(at_dawn).name == "at_dawn"


def at_dawn(begun: Begun) -> datetime:
    return MOMENT
