"""Which ticks are due: the one place that decides. Pure: time is an argument.

A tick within `GRACE_MS` of its time is on time and always announced; an older one was missed, and the schedule's policy
decides. So a scheduler that looks often enough announces every due time, in whatever steps time goes; one that was
away, or whose clock leapt forward, does what the policy says. A clock that goes back finds nothing to do until it has
caught up with the position.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice, takewhile

from services.scheduler.schedule import Misfire, Schedule
from services.scheduler.timing import DAY_MS

GRACE_MS = 60_000
"""A tick that is later than this was missed."""
FIRST_LOOK_MS = 60 * 60 * 1_000
"""What was missed is looked for in the last hour first."""
MISSED_MS_MAX = 400 * DAY_MS
"""What was missed longer ago is not looked for."""
COUNTED_MIN = 1_000
"""So many that are passed over are counted, if there are as many; of more, not all."""
LOOKED_AT_MAX = 100_000
"""Due times gone through at once: half a second of processor time."""


@dataclass(frozen=True, slots=True)
class State:
    """What is stored of a schedule. `position_ms`: every due time up to it is settled."""

    position_ms: int
    definition: str
    paused: bool = False
    fired_ms: int | None = None
    """When its latest tick was due."""
    fired: int = 0
    """Ticks so far."""
    told: str | None = None
    """What a person last wanted of it, who, and when."""


@dataclass(frozen=True, slots=True)
class Due:
    """`ticks`: due times to announce, ascending. `dropped`: due times passed over, as many as were looked at (of a long
    absence not all are). `position_ms`: where this leaves the schedule."""

    ticks: tuple[int, ...]
    dropped: int
    position_ms: int


@dataclass(frozen=True, slots=True)
class Begin:
    """The schedule is new, or another than it was: it starts from now."""

    position_ms: int


def step(schedule: Schedule, state: State | None, now_ms: int) -> Due | Begin:
    """What is to be done for `schedule` now."""
    if state is None or state.definition != schedule.definition:
        return Begin(now_ms)
    if state.paused:
        return Due((), 0, state.position_ms)
    return due(schedule, state.position_ms, now_ms)


def due(schedule: Schedule, position_ms: int, now_ms: int) -> Due:
    """The ticks after `position_ms` that are to be announced at `now_ms`."""
    horizon_ms = now_ms - schedule.delay_ms
    on_time_ms = horizon_ms - GRACE_MS
    found = tuple(takewhile(lambda at: at <= horizon_ms, schedule.timing.after(max(position_ms, on_time_ms - 1))))
    missed, dropped = _missed(schedule, position_ms, on_time_ms)
    ticks = (*missed, *found)
    if ticks:
        return Due(ticks, dropped, ticks[-1])
    return Due((), dropped, max(position_ms, on_time_ms - 1) if dropped else position_ms)


def next_due(schedule: Schedule, position_ms: int) -> int | None:
    """When its next tick is announced; None: never again."""
    following = next(schedule.timing.after(position_ms), None)
    return None if following is None else following + schedule.delay_ms


def _missed(schedule: Schedule, position_ms: int, end_ms: int) -> tuple[tuple[int, ...], int]:
    """Of the due times after `position_ms` and before `end_ms`: those that the policy has announced after all, and how
    many others there are.

    Looked for from the end, since an absence may have been long: in a span that is doubled until it holds enough, and
    cut in half again where it holds far too many.
    """
    kept = {Misfire.SKIP: 0, Misfire.ONCE: 1, Misfire.CATCH_UP: schedule.catch_up_max}[schedule.misfire]
    first_ms = max(position_ms, end_ms - MISSED_MS_MAX)
    short_ms, long_ms, look_ms = 0, 2 * MISSED_MS_MAX, FIRST_LOOK_MS
    while True:
        start_ms = max(first_ms, end_ms - look_ms)
        newest: deque[int] = deque(maxlen=kept)
        count = 0
        for at_ms in islice(takewhile(lambda at: at < end_ms, schedule.timing.after(start_ms)), LOOKED_AT_MAX):
            count += 1
            newest.append(at_ms)
        if count == LOOKED_AT_MAX:
            long_ms = look_ms
        elif start_ms <= first_ms or count > kept + COUNTED_MIN:
            return tuple(newest), count - len(newest)
        else:
            short_ms = look_ms
        look_ms = min(2 * look_ms, (short_ms + long_ms) // 2)
