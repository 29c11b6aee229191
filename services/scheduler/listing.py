"""What the command line shows of schedules. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from contracts.envelope import format_time
from services.scheduler.declarations import from_declared_json
from services.scheduler.due import GRACE_MS, State, next_due
from services.scheduler.timing import moment_of, zone_of

NEXT_MAX = 100


def row_of(name: str, declared: Mapping[str, Any], state: State | None, now_ms: int) -> dict[str, Any]:
    """One schedule, as `list --json` prints it."""
    schedule = from_declared_json(name, dict(declared))
    position_ms = now_ms if state is None else max(state.position_ms, now_ms if state.paused else 0)
    next_ms = None if state is not None and state.paused else next_due(schedule, position_ms)
    return {
        "id": name,
        "state": _word(state, next_ms, now_ms),
        "when": schedule.timing.text,
        "misfire": str(schedule.misfire),
        "event": declared["event"],
        "next": None if next_ms is None else format_time(next_ms),
        "last": None if state is None or state.fired_ms is None else format_time(state.fired_ms),
        "ticks": 0 if state is None else state.fired,
        "told": None if state is None else state.told,
    }


def _word(state: State | None, next_ms: int | None, now_ms: int) -> str:
    """`ahead`: settled beyond the clock, which was wrong then or is now; `over`: it is never due again."""
    if state is None:
        return "new"
    if state.paused:
        return "paused"
    if state.position_ms > now_ms + GRACE_MS:
        return "ahead"
    return "over" if next_ms is None else "active"


def coming(name: str, declared: Mapping[str, Any], now_ms: int, count: int) -> list[dict[str, Any]]:
    """The next `count` due times after now, in UTC and as the schedule's zone has them."""
    schedule = from_declared_json(name, dict(declared))
    zone = zone_of(declared.get("zone", "UTC"))
    return [
        {"due_at": format_time(due_ms), "local": moment_of(due_ms).astimezone(zone).isoformat()}
        for due_ms in islice(schedule.timing.after(now_ms), count)
    ]
