"""Schedules: the scheduler says that a time has come."""

from __future__ import annotations

from contracts.message import Event, Identifier, UtcTime


class ScheduleTick(Event, type="schedules.tick.v1"):
    """`due_at` is when the schedule was due, however late this is said; a run that a person asked for is due when it
    was asked for."""

    schedule_id: Identifier
    due_at: UtcTime
