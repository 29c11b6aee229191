"""Which timers were appended, and when: an append is repeated only if the timer is still set a while later."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator.runtime.store import DueTimer

REPEAT_S = 10.0
"""DESIGN section 2. The engine needs milliseconds; after so long the record is taken for lost, or came too early."""
REPEAT_MAX_S = 640.0
"""Each repeat waits twice as long as the one before, up to this: while no engine works, the inbox must not fill up."""


@dataclass(frozen=True, slots=True)
class Fired:
    """When a timer was appended last (monotonic seconds), and how long that must have had no effect."""

    at_s: float
    repeat_s: float = REPEAT_S

    def silent(self, now_s: float) -> bool:
        return now_s - self.at_s >= self.repeat_s


class FiredTimers:
    """Remembers no more than what is due now, and what was appended in the last REPEAT_S."""

    def __init__(self) -> None:
        self._fired: dict[DueTimer, Fired] = {}

    def __len__(self) -> int:
        return len(self._fired)

    def wanted(self, due: Sequence[DueTimer], now_s: float) -> list[DueTimer]:
        """The timers of `due` that must be appended now."""
        return [timer for timer in due if (last := self._fired.get(timer)) is None or last.silent(now_s)]

    def appended(self, timer: DueTimer, now_s: float) -> bool:
        """Take note of an acknowledged append. True: it was a repeat."""
        last = self._fired.get(timer)
        self._fired[timer] = Fired(now_s) if last is None else Fired(now_s, min(2 * last.repeat_s, REPEAT_MAX_S))
        return last is not None

    def forget(self, due: Sequence[DueTimer], owned: Collection[int], limit: int, now_s: float) -> None:
        """Drop what is not due any more, and shards that are not owned. `due` are the earliest `limit` timers of each
        shard: if there are that many, a later one that is missing may be due all the same, and stays REPEAT_S."""
        if not self._fired:
            return
        current = set(due)
        full_until_ms = _full_until_ms(due, limit)

        def kept(timer: DueTimer, fired: Fired) -> bool:
            if timer.shard not in owned:
                return False
            hidden = timer.due_ms >= full_until_ms.get(timer.shard, timer.due_ms + 1)
            return timer in current or (hidden and now_s - fired.at_s < REPEAT_S)

        self._fired = {timer: fired for timer, fired in self._fired.items() if kept(timer, fired)}


def _full_until_ms(due: Sequence[DueTimer], limit: int) -> dict[int, int]:
    """The latest due time of each shard that has `limit` timers or more."""
    times: dict[int, list[int]] = {}
    for timer in due:
        times.setdefault(timer.shard, []).append(timer.due_ms)
    return {shard: max(found) for shard, found in times.items() if len(found) >= limit}
