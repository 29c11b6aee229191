"""When a schedule is due: a cron expression in a time zone, or one moment. Pure.

Times are milliseconds since the epoch; due times are whole seconds. Daylight saving is Debian's cron's, as the library
`cronsim` has it, for expressions of five fields: a job of a fixed hour that the clock leaps over runs at once after the
leap, one in an hour that comes twice runs the first time; a job whose minute or hour begins with `*` runs by elapsed
time. With six fields (seconds first) only the latter is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

SECOND_MS = 1_000
DAY_MS = 24 * 60 * 60 * SECOND_MS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES_MAX = 1_024
FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
ALLOWED = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last day), LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7 are Sunday), SUN-SAT, 1#2 (the second Monday), 5L (the last Friday)",
}
FORMS = "a value, *, a list a,b, a range a-b, or a step */n"


class CronMistake(ValueError):
    """The expression cannot be read, or is never due. The message is one sentence that names the field."""


def moment_of(at_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=at_ms)


def ms_of(moment: datetime) -> int:
    """`moment` is aware."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


@lru_cache(maxsize=ZONES_MAX)
def zone_of(name: str) -> ZoneInfo:
    """Raises ZoneInfoNotFoundError, or ValueError for what is no name of a zone."""
    return ZoneInfo(name)


@dataclass(frozen=True, slots=True)
class Cron:
    """`expression` and `zone` have been checked (`checked_cron`)."""

    expression: str
    zone: str

    @property
    def text(self) -> str:
        return f"cron {self.expression} in {self.zone}"

    def after(self, position_ms: int) -> Iterator[int]:
        """All due times after `position_ms`, ascending, each once."""
        start = moment_of(position_ms).astimezone(zone_of(self.zone))
        # Where an hour comes twice, cronsim finds a fixed time's first pass also when it starts in the second.
        latest = position_ms
        for found in CronSim(self.expression, start):
            due_ms = ms_of(found)
            if due_ms > latest:
                latest = due_ms
                yield due_ms


@dataclass(frozen=True, slots=True)
class Once:
    at_ms: int

    @property
    def text(self) -> str:
        return f"at {moment_of(self.at_ms).isoformat()}"

    def after(self, position_ms: int) -> Iterator[int]:
        if self.at_ms > position_ms:
            yield self.at_ms


Timing: TypeAlias = Cron | Once


def checked_cron(expression: str, zone: str) -> Cron:
    """Raises CronMistake."""
    words = expression.split()
    if len(words) not in (5, 6):
        raise CronMistake(
            f"{expression!r} has {len(words)} fields, not 5 (minute hour day-of-month month day-of-week), nor 6 with"
            " seconds first"
        )
    try:
        sim = CronSim(expression, EPOCH.astimezone(zone_of(zone)))
        next(sim)
    except CronSimError as error:
        raise CronMistake(_explained(str(error), words)) from None
    except StopIteration:
        raise CronMistake(f"{expression!r} is never due: no day fits it") from None
    return Cron(" ".join(words), zone)


def _explained(complaint: str, words: list[str]) -> str:
    names = FIELDS[-len(words) :]
    name = complaint.removeprefix("Bad ")
    if name not in names:
        return f"{' '.join(words)!r}: {complaint}"
    return f"{words[names.index(name)]!r} is no {name}: {ALLOWED[name]}; as {FORMS}"
