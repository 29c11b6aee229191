"""The retry policy of a handler: a value, so that it is table-tested."""

from __future__ import annotations

from dataclasses import dataclass

ATTEMPTS_MAX = 20


@dataclass(frozen=True, slots=True)
class Retry:
    """In-process retries. Times in seconds.

    The n-th pause is `first * factor**(n-1)`, at most `ceiling`, then spread by `jitter` (a share of the pause).
    `attempts` counts the first execution, so 1 means "no retry".

    Raises:
        ValueError: a number out of range.
    """

    attempts: int = 3
    first: float = 0.2
    factor: float = 2.0
    ceiling: float = 10.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise ValueError(f"attempts is {self.attempts}, not within 1..{ATTEMPTS_MAX}")
        if self.first < 0 or self.ceiling < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError(f"not a retry policy: {self}")

    def pause_s(self, attempt: int, random: float, left_s: float | None) -> float | None:
        """Seconds to wait after the `attempt`-th execution failed, or None: no more.

        `random` is uniform in 0..1. `left_s` is the time left before the message's deadline: a pause that would end
        after it is not worth taking.
        """
        if attempt >= self.attempts:
            return None
        plain = min(self.ceiling, self.first * self.factor ** (attempt - 1))
        pause = plain * (1 + self.jitter * (2 * random - 1))
        return None if left_s is not None and pause >= left_s else pause


ONCE = Retry(attempts=1, first=0)
"""No retry in process."""
