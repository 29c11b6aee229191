"""Limits across processes, as values: how much may be under way at once, or begin in a time.

The permits come from a limiter process (docs/decisions/0079-limits.md); a step without a limit asks for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Period = Literal["second", "minute", "hour"]
PERIODS: dict[Period, timedelta] = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
}
LIMIT_NAME_PATTERN = re.compile(r"[a-z][A-Za-z0-9._-]{0,127}")
"""Part of the limiter's process id."""
RATE_COUNT_MAX = 1_000_000
"""A microsecond between two permits of a second: the limiter counts in microseconds."""
PERIOD_MAX = timedelta(days=31)
CONCURRENCY_MAX = 5_000
"""What is under way is kept one by one, in the limiter's state."""
LIMITS_MAX = 4
"""Of one step, or of one saga."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in a period (`per`), on average; at most `burst` at once after a pause (default: `count`).

    In any time w at most `burst + w * count / per` are sent. `burst=1` spaces them evenly. `name`: limits of one name
    are one limit, shared by all steps and sagas that name it.

    Raises:
        ValueError: a value that cannot be meant.
    """

    count: int
    per: Period | timedelta = "second"
    name: str | None = None
    burst: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= RATE_COUNT_MAX:
            raise ValueError(f"count must be 1 to {RATE_COUNT_MAX}, not {self.count}")
        if isinstance(self.per, str) and self.per not in PERIODS:
            raise ValueError(f"per must be {', '.join(PERIODS)} or a timedelta, not {self.per!r}")
        if not timedelta(milliseconds=1) <= self.period <= PERIOD_MAX:
            raise ValueError(f"per must be a millisecond to {PERIOD_MAX.days} days, not {self.period}")
        if self.burst is not None and not 1 <= self.burst <= self.count:
            raise ValueError(f"burst must be 1 to count ({self.count}), not {self.burst}")
        _check_name(self.name)

    @property
    def period(self) -> timedelta:
        return self.per if isinstance(self.per, timedelta) else PERIODS[self.per]


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `count` at once; who comes first is served first. `name` as in `Rate`.

    Raises:
        ValueError: a value that cannot be meant.
    """

    count: int
    name: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= CONCURRENCY_MAX:
            raise ValueError(f"count must be 1 to {CONCURRENCY_MAX}, not {self.count}")
        _check_name(self.name)


Limit = Rate | Concurrency


def _check_name(name: str | None) -> None:
    if name is not None and not LIMIT_NAME_PATTERN.fullmatch(name):
        raise ValueError(f"the name of a limit is a lower-case letter, then letters, digits, . _ or -: not {name!r}")


def limits_of(limit: Limit | tuple[Limit, ...] | None) -> tuple[Limit, ...]:
    """What `limit=` says, as a tuple. Raises ValueError: too many."""
    found = () if limit is None else limit if isinstance(limit, tuple) else (limit,)
    if len(found) > LIMITS_MAX:
        raise ValueError(f"at most {LIMITS_MAX} limits stand in one place, not {len(found)}")
    return found


def limiter_of(limit: Limit, default: str) -> tuple[Literal["concurrency", "rate"], str]:
    """Kind and name of the limiter. `default`: the name of a limit that has none, `<saga>.<step>` or `<saga>`."""
    return "rate" if isinstance(limit, Rate) else "concurrency", limit.name or default


def limits_text(limits: Iterable[Limit]) -> str:
    """For people: `at most 100 per second, 10 at once`."""
    return ", ".join(
        f"at most {limit.count} {f'per {_per(limit)}' if isinstance(limit, Rate) else 'at once'}"
        + (f" ({limit.name})" if limit.name else "")
        for limit in limits
    )


def _per(rate: Rate) -> str:
    return rate.per if isinstance(rate.per, str) else f"{rate.per.total_seconds():g} s"
