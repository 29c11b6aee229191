"""Schedules: what the clock says."""

from __future__ import annotations

from contracts.message import Event, Identifier, UtcTime


class ScheduleTick(Event, type="schedules.tick.v1"):
    """`due_at` is when the schedule wanted it, not when it was published."""

    schedule_id: Identifier
    due_at: UtcTime
