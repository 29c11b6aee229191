"""A declared schedule, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contracts.message import Event
from contracts.schedules import ScheduleTick
from services.scheduler.timing import Timing

CATCH_UP_MAX = 1_000
"""Most missed ticks that a schedule may ask to be given later."""
CATCH_UP_DEFAULT = 100


class Misfire(StrEnum):
    """What becomes of due times that nobody was there to announce."""

    ONCE = "once"
    """All of them together give one tick: the latest."""
    SKIP = "skip"
    CATCH_UP = "catch-up"
    """Each is announced, the oldest first; at most `catch_up_max`, the latest ones."""


@dataclass(frozen=True, slots=True)
class Schedule:
    id: str
    timing: Timing
    misfire: Misfire = Misfire.ONCE
    catch_up_max: int = CATCH_UP_DEFAULT
    delay_ms: int = 0
    """Its ticks come so much after they are due: the schedule's own share of its `jitter`, always the same."""
    event: type[Event] = ScheduleTick
    fields: Mapping[str, object] = field(default_factory=dict)
    """Of an event other than the tick; texts may hold `{schedule_id}`, `{due_at}` and `{due_id}`."""

    @property
    def definition(self) -> str:
        """What an edit changes: with another one, the schedule starts from now as if it were new."""
        return self.timing.text
