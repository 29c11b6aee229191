"""When the engine decided, as an outsider sees it: the append times of what it publishes, every message once.

A *decision* is a command or a lifecycle event of the orchestrator with an id that was not in the log before. What is
sent again after a crash or a silence has the id that it had, and is none. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise

from contracts.envelope import EnvelopeError, decode_headers
from contracts.record import IncomingRecord
from contracts.topics import LIFECYCLE

COMMANDS_SUFFIX = ".commands"
ENGINE_SOURCE = "/counterpoint/orchestrator"
PROBE_TYPE = "orchestrator.clock-probe.v1"


def is_decided(topic: str) -> bool:
    """Whether what the engine decides is published there."""
    return topic == LIFECYCLE or topic.endswith(COMMANDS_SUFFIX)


@dataclass(slots=True)
class Decisions:
    """Mutable: `take` folds one record in. Times are broker times in ms."""

    count: int = 0
    _times_ms: list[int] = field(default_factory=list)
    _sorted: bool = True
    _seen: set[str] = field(default_factory=set)

    def take(self, record: IncomingRecord) -> None:
        try:
            envelope = decode_headers(record.headers)
        except EnvelopeError:
            return
        own = envelope.source == ENGINE_SOURCE and envelope.type != PROBE_TYPE
        if own and envelope.id not in self._seen:
            self._seen.add(envelope.id)
            self._times_ms.append(record.timestamp_ms)
            self._sorted = False
            self.count += 1

    def first_after_ms(self, at_ms: int) -> int | None:
        """When the first decision at or after `at_ms` was published; None: there is none."""
        times = self._ordered()
        place = bisect_left(times, at_ms)
        return times[place] if place < len(times) else None

    def longest_pause_ms(self, start_ms: int, end_ms: int) -> int:
        """The longest time without a decision, from the last one before `start_ms` to the first from `end_ms` on."""
        times = self._ordered()
        first, last = bisect_left(times, start_ms), bisect_left(times, end_ms)
        within = times[max(first - 1, 0) : last + 1]
        return max((after - before for before, after in pairwise(within)), default=0)

    def _ordered(self) -> list[int]:
        if not self._sorted:
            self._times_ms.sort()
            self._sorted = True
        return self._times_ms
