"""Policies of a step, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from contracts.message import Event

DEFAULT_TIMEOUT = timedelta(seconds=30)
"""Silence after which the same try is sent again (DESIGN section 4)."""
DEFAULT_PATIENCE = timedelta(minutes=15)
"""Silence after which a step is perhaps done (DESIGN section 4)."""
ATTEMPTS_MAX = 100
FACTOR_MAX = 1_000
"""Its 99th power is still a floating-point number."""


@dataclass(frozen=True, slots=True)
class Retry:
    """New tries after a failure *known to have had no effect*. Silence and unknown effects never make a new try.

    `attempts` counts all tries, the first included. The n-th new try waits `first * factor ** (n - 1)`, at most
    `maximum`. A refusal is a final business answer unless `on` names it.

    Raises:
        ValueError: a value that cannot be meant.
    """

    attempts: int = 3
    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=1)
    on: tuple[type[Event], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise ValueError(f"attempts must be 1 to {ATTEMPTS_MAX}, not {self.attempts}")
        if self.first < timedelta(0) or self.maximum < self.first:
            raise ValueError("0 <= first <= maximum does not hold")
        if not 1 <= self.factor <= FACTOR_MAX:
            raise ValueError(f"factor must be 1 to {FACTOR_MAX}, not {self.factor}")

    def delay_ms(self, failed_tries: int) -> int:
        """Milliseconds to wait before the next try after `failed_tries` (>= 1) have failed."""
        delay = self.first.total_seconds() * min(self.factor ** (failed_tries - 1), 1e9)
        return round(min(delay, self.maximum.total_seconds()) * 1000)


UNDO_RETRY = Retry(attempts=5)
"""A failed undo is tried five times before a person is asked (our choice; an undo should not give up easily)."""
