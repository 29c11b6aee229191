"""What time it is at the broker: the last append time plus the monotonic time since its ack.

Our own wall clock decides nothing. The append time is stamped before its ack comes back, so that the estimate is behind
the broker by that delay, never ahead: a timer that is due by it is due by the time stamp of its own record.
"""

from __future__ import annotations

from collections.abc import Callable

ANCHOR_KEPT_S = 1.0
"""So long the best of several observations stands: acks are late by different amounts. Longer, and a monotonic clock
that runs fast would bring the estimate ahead of the broker, and every timer would fire too early."""


class BrokerTime:
    """`monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._at_ms: int | None = None
        self._anchored_s = 0.0
        self._observed_s = 0.0

    def observe(self, at_ms: int) -> None:
        """An ack has just come in whose append time is `at_ms`."""
        now_s = self._monotonic()
        self._observed_s = now_s
        known_ms = self.now_ms()
        if known_ms is None or at_ms >= known_ms or now_s - self._anchored_s > ANCHOR_KEPT_S:
            self._at_ms, self._anchored_s = at_ms, now_s

    def now_ms(self) -> int | None:
        """None: nothing was appended yet."""
        if self._at_ms is None:
            return None
        return self._at_ms + int((self._monotonic() - self._anchored_s) * 1000)

    def silent_s(self) -> float | None:
        """Seconds since the last observation. None: there was none."""
        return None if self._at_ms is None else self._monotonic() - self._observed_s
