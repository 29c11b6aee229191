"""When ticks are due: daylight saving by table, policies by table, and what holds however time goes by."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.due import GRACE_MS, Begin, Due, State, due, next_due, step
from services.scheduler.schedule import CATCH_UP_MAX, Misfire, Schedule
from services.scheduler.timing import Cron, CronMistake, Once, checked_cron, moment_of, ms_of, zone_of

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NOON_MS = ms_of(datetime.fromisoformat("2026-06-01T12:00:00+00:00"))


def at(text: str) -> int:
    return ms_of(datetime.fromisoformat(text))


def cron(expression: str = "* * * * *", zone: str = "UTC") -> Cron:
    return checked_cron(expression, zone)


def schedule(timing: Cron | Once | None = None, misfire: Misfire = Misfire.ONCE, **more: int) -> Schedule:
    return Schedule("s", timing or cron(), misfire, **more)


DAYLIGHT = (
    # Berlin leaps from 2:00 to 3:00 on 29 March 2026, and from 3:00 back to 2:00 on 25 October.
    ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
    ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
    ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T03:00+02:00"]),
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+02:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
    ("30 * * * *", "Europe/Berlin", "2026-03-29T01:00+01:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"]),
    (
        "30 * * * *",
        "Europe/Berlin",
        "2026-10-25T02:00+02:00",
        ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"],
    ),
    # New York leaps from 2:00 to 3:00 on 8 March 2026, and from 2:00 back to 1:00 on 1 November.
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00-05:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00-04:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
    # Begun in the second pass of the hour: the first pass is over.
    ("30 1 * * *", "America/New_York", "2026-11-01T01:10-05:00", ["2026-11-02T01:30-05:00"]),
    (
        "*/30 1 * * *",
        "America/New_York",
        "2026-11-01T00:59-04:00",
        ["2026-11-01T01:00-04:00", "2026-11-01T01:30-04:00", "2026-11-01T01:00-05:00", "2026-11-01T01:30-05:00"],
    ),
    # With seconds: by elapsed time alone, so what the clock leaps over does not come.
    ("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", ["2026-03-30T02:30+02:00"]),
    ("0 0 L * *", "Europe/Berlin", "2026-02-01T00:00+01:00", ["2026-02-28T00:00+01:00", "2026-03-31T00:00+02:00"]),
)


@pytest.mark.parametrize(("expression", "zone", "start", "expected"), DAYLIGHT)
def test_daylight_saving(expression: str, zone: str, start: str, expected: list[str]) -> None:
    found = list(islice(cron(expression, zone).after(at(start)), len(expected)))
    assert [moment_of(one).astimezone(zone_of(zone)).isoformat(timespec="minutes") for one in found] == expected


ZONES = st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"))
EXPRESSIONS = st.sampled_from(
    ("* * * * *", "*/7 * * * *", "30 2 * * *", "0 2,3 * * *", "15,45 1-3 * * *", "*/30 1 * * *", "0 */5 * * *",
     "59 23 * * 0", "0 30 1 * * *", "0-59/20 2 * * *", "0 0 L * *")
)  # fmt: skip
# Around a change of the clock, where it is hard.
STARTS = st.builds(
    lambda day, minutes: day + minutes * MINUTE_MS,
    st.sampled_from(
        [
            at(f"{day}T00:00+00:00")
            for day in ("2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01", "2026-04-05", "2026-07-01")
        ]
    ),
    st.integers(-300, 1_800),
)


def up_to(timing: Cron, start_ms: int, end_ms: int) -> list[int]:
    return list(takewhile(lambda one: one <= end_ms, timing.after(start_ms)))


@given(EXPRESSIONS, ZONES, STARTS, st.integers(0, 1_800), st.data())
def test_due_times_rise_and_do_not_depend_on_where_one_begins_to_look(
    expression: str, zone: str, start_ms: int, minutes: int, data: st.DataObject
) -> None:
    timing = cron(expression, zone)
    end_ms = start_ms + minutes * MINUTE_MS
    found = up_to(timing, start_ms, end_ms)
    assert found == sorted(set(found))
    later_ms = data.draw(st.integers(start_ms, end_ms))
    assert up_to(timing, later_ms, end_ms) == [one for one in found if one > later_ms]


@given(EXPRESSIONS, ZONES, STARTS, st.lists(st.integers(-5 * MINUTE_MS, HOUR_MS), max_size=30), st.integers(0, HOUR_MS))
def test_in_whatever_steps_time_goes_catch_up_announces_each_due_time_once(
    expression: str, zone: str, start_ms: int, steps: list[int], delay_ms: int
) -> None:
    """Also where the clock goes back. Every step is within the bound of what is caught up with."""
    timing = cron(expression, zone)
    planned = schedule(timing, Misfire.CATCH_UP, catch_up_max=CATCH_UP_MAX, delay_ms=delay_ms)
    position_ms, now_ms, highest_ms = start_ms, start_ms, start_ms
    announced: list[int] = []
    for step_ms in steps:
        now_ms += step_ms
        highest_ms = max(highest_ms, now_ms)
        found = due(planned, position_ms, now_ms)
        assert found.position_ms >= position_ms and found.dropped == 0
        announced += found.ticks
        position_ms = found.position_ms
    assert announced == up_to(timing, start_ms, highest_ms - delay_ms)


@given(EXPRESSIONS, ZONES, STARTS, st.lists(st.integers(0, GRACE_MS), max_size=60), st.sampled_from(Misfire))
def test_who_looks_often_enough_announces_all_under_any_policy(
    expression: str, zone: str, start_ms: int, steps: list[int], misfire: Misfire
) -> None:
    timing = cron(expression, zone)
    position_ms = now_ms = start_ms
    announced: list[int] = []
    for step_ms in steps:
        now_ms += step_ms
        found = due(schedule(timing, misfire), position_ms, now_ms)
        announced += found.ticks
        position_ms = found.position_ms
    assert announced == up_to(timing, start_ms, now_ms)


@given(EXPRESSIONS, ZONES, STARTS, st.integers(0, 3_000), st.integers(1, 20))
def test_after_an_absence_the_policy_decides(
    expression: str, zone: str, start_ms: int, minutes: int, bound: int
) -> None:
    timing = cron(expression, zone)
    now_ms = start_ms + minutes * MINUTE_MS
    whole = up_to(timing, start_ms, now_ms)
    missed = [one for one in whole if one < now_ms - GRACE_MS]
    on_time = whole[len(missed) :]
    skip = due(schedule(timing, Misfire.SKIP), start_ms, now_ms)
    once = due(schedule(timing, Misfire.ONCE), start_ms, now_ms)
    caught = due(schedule(timing, Misfire.CATCH_UP, catch_up_max=bound), start_ms, now_ms)
    assert list(skip.ticks) == on_time
    assert list(once.ticks) == [*missed[-1:], *on_time]
    assert list(caught.ticks) == [*missed[-bound:], *on_time]
    for found in (skip, once, caught):
        # Nothing comes twice, and nothing is left over.
        assert due(schedule(timing, Misfire.CATCH_UP), found.position_ms, now_ms).ticks == ()


def test_a_new_schedule_starts_from_now() -> None:
    assert step(schedule(), None, NOON_MS) == Begin(NOON_MS)


def test_an_edited_schedule_does_not_announce_the_past() -> None:
    state = State(NOON_MS - 10 * HOUR_MS, cron("0 * * * *").text)
    assert step(schedule(cron("1 * * * *")), state, NOON_MS) == Begin(NOON_MS)
    unchanged = step(schedule(cron("0 * * * *")), state, NOON_MS)
    assert unchanged == Due((NOON_MS - HOUR_MS, NOON_MS), 9 - 1, NOON_MS)


def test_a_paused_schedule_announces_nothing() -> None:
    state = State(NOON_MS - HOUR_MS, schedule().definition, paused=True)
    assert step(schedule(), state, NOON_MS) == Due((), 0, state.position_ms)


def test_a_clock_that_goes_back_announces_nothing_again() -> None:
    first = due(schedule(), NOON_MS - MINUTE_MS, NOON_MS)
    assert first.ticks == (NOON_MS,)
    assert due(schedule(), first.position_ms, NOON_MS - HOUR_MS) == Due((), 0, NOON_MS)
    assert due(schedule(), first.position_ms, NOON_MS) == Due((), 0, NOON_MS)
    assert due(schedule(), first.position_ms, NOON_MS + MINUTE_MS).ticks == (NOON_MS + MINUTE_MS,)


def test_what_was_skipped_is_not_looked_at_again() -> None:
    found = due(schedule(cron("0 0 * * *"), Misfire.SKIP), NOON_MS - 48 * HOUR_MS, NOON_MS)
    assert (found.ticks, found.dropped) == ((), 2)
    assert due(schedule(cron("0 0 * * *"), Misfire.SKIP), found.position_ms, NOON_MS) == Due((), 0, found.position_ms)


def test_one_moment_comes_once() -> None:
    once = schedule(Once(NOON_MS))
    assert due(once, NOON_MS - 1, NOON_MS - 1).ticks == ()
    assert due(once, NOON_MS - 1, NOON_MS) == Due((NOON_MS,), 0, NOON_MS)
    assert due(once, NOON_MS, NOON_MS + HOUR_MS).ticks == ()
    assert due(once, NOON_MS - 1, NOON_MS + HOUR_MS).ticks == (NOON_MS,)
    skipped = due(schedule(Once(NOON_MS), Misfire.SKIP), NOON_MS - 1, NOON_MS + HOUR_MS)
    assert (skipped.ticks, skipped.dropped) == ((), 1)
    assert next_due(once, NOON_MS) is None


def test_a_delayed_schedule_is_announced_late_with_its_own_time() -> None:
    delayed = schedule(delay_ms=20_000)
    assert due(delayed, NOON_MS - MINUTE_MS, NOON_MS + 19_999).ticks == ()
    assert due(delayed, NOON_MS - MINUTE_MS, NOON_MS + 20_000).ticks == (NOON_MS,)
    assert next_due(delayed, NOON_MS - MINUTE_MS) == NOON_MS + 20_000


def test_a_long_absence_of_a_busy_schedule_is_searched_from_its_end() -> None:
    busy = schedule(cron("* * * * * *"), Misfire.CATCH_UP, catch_up_max=3)
    found = due(busy, NOON_MS - 365 * 24 * HOUR_MS, NOON_MS)
    assert found.ticks[:3] == tuple(NOON_MS - GRACE_MS - number * 1_000 for number in (3, 2, 1))
    assert len(found.ticks) == 3 + 61
    assert found.dropped >= 1_000


def test_many_due_times_long_ago_are_found_without_going_through_all() -> None:
    """2.7 million of them in January, none since."""
    january = schedule(cron("* * * JAN *"), Misfire.CATCH_UP, catch_up_max=5)
    seconds = schedule(cron("* * * * JAN *"), Misfire.CATCH_UP, catch_up_max=5)
    end_ms = at("2026-02-01T00:00:00+00:00")
    for planned, pause_ms in ((january, MINUTE_MS), (seconds, 1_000)):
        found = due(planned, end_ms - 365 * 24 * HOUR_MS, NOON_MS)
        assert found.ticks == tuple(end_ms - number * pause_ms for number in (5, 4, 3, 2, 1))


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("61 * * * *", "'61' is no minute: 0-59"),
        ("* 24 * * *", "'24' is no hour: 0-23"),
        ("* * 0 * *", "'0' is no day-of-month: 1-31"),
        ("* * * JANUARY *", "'JANUARY' is no month: 1-12 or JAN-DEC"),
        ("* * * * 8", "'8' is no day-of-week: 0-7"),
        ("61 * * * * *", "'61' is no second"),
        ("* * * *", "has 4 fields, not 5"),
        ("@daily", "has 1 fields, not 5"),
        ("0 0 30 2 *", "'30' is no day-of-month"),
        ("0 0 29 2 MON#5,MON#9", "is no day-of-week"),
    ],
)
def test_a_wrong_field_is_named(expression: str, complaint: str) -> None:
    with pytest.raises(CronMistake, match=complaint.replace("(", r"\(")):
        checked_cron(expression, "UTC")
