"""How long the inbox remembers, and why a record outlives the age at which messages are refused."""

from __future__ import annotations

from contracts.topics import DAY_MS

RETENTION_MS = DAY_MS
"""A message appended longer ago is never executed (DESIGN section 5). Must exceed the longest command deadline plus
the longest pause of a service."""

LATE_COPY_MARGIN_MS = 2 * 60 * 60 * 1000
"""A re-sent copy is appended later than the first, by up to the step's patience (15 min by default). When the copy is
still young enough to be executed, the first one's mark must still be there, so marks are kept this much longer."""


def kept_ms(retention_ms: int) -> int:
    """Milliseconds that a mark or an outcome is kept after it was last written or asked for."""
    return retention_ms + LATE_COPY_MARGIN_MS
