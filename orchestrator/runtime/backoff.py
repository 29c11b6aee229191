"""Waiting for something that is away: ever longer, up to a limit, for ever."""

from __future__ import annotations

FIRST_S = 0.05
CAP_S = 5.0


class Backoff:
    """Doubles from `first_s` to `cap_s`. No jitter: what waits here is alone, or one of a handful."""

    def __init__(self, first_s: float = FIRST_S, cap_s: float = CAP_S) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now."""
        now, self._next_s = self._next_s, min(self._next_s * 2, self._cap_s)
        return now

    def reset(self) -> None:
        """It worked: the next wait is the first again."""
        self._next_s = self._first_s
