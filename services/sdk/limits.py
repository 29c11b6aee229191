"""Limits of a handler, as values: how many executions at once, or how many a second; of one replica, so that n replicas
have n times as much. What enforces them is `middleware/limited.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

CONCURRENCY_MAX = 10_000
PER_SECOND_MAX = 100_000.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `count` executions of the handler at once, an execution's retries and their pauses included.

    Raises:
        ValueError: not within 1..CONCURRENCY_MAX.
    """

    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= CONCURRENCY_MAX:
            raise ValueError(f"a concurrency of {self.count} is not within 1..{CONCURRENCY_MAX}")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `per_second` executions a second, and `burst` at once after a quiet time. A retry counts.

    Raises:
        ValueError: a number out of range.
    """

    per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.per_second <= PER_SECOND_MAX or not 1 <= self.burst <= CONCURRENCY_MAX:
            raise ValueError(f"not a rate: {self}")


Limit: TypeAlias = Concurrency | Rate
