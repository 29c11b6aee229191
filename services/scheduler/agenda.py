"""What one leader knows of its schedules, and when it must look next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.scheduler.due import GRACE_MS, Begin, Due, State, next_due, step
from services.scheduler.schedule import Schedule
from services.scheduler.store import Move

TICKS_MAX = 2_000
"""Announced at once; with more due, the rest is announced directly after."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A move, and how many due times it passes over."""

    move: Move
    dropped: int = 0


class Agenda:
    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self.schedules = {schedule.id: schedule for schedule in schedules}
        self._states: dict[str, State] = {}
        self._next: dict[str, int | None] = {}
        """When a schedule is to be looked at; None: never."""

    def load(self, states: Mapping[str, State]) -> None:
        """What is stored, in place of what was known."""
        self._states = {name: state for name, state in states.items() if name in self.schedules}
        self._next = {name: self._next_of(name) for name in self.schedules}

    def planned(self, now_ms: int) -> list[Planned]:
        """All moves that are due, with TICKS_MAX ticks or a little more."""
        found: list[Planned] = []
        ticks = 0
        for name, next_ms in self._next.items():
            if next_ms is None or next_ms > now_ms:
                continue
            planned = self._planned(name, now_ms)
            if planned is not None:
                found.append(planned)
                ticks += len(planned.move.ticks)
            if ticks >= TICKS_MAX:
                break
        return found

    def settled(self, moves: Sequence[Move]) -> None:
        """These moves are stored."""
        for move in moves:
            state = self._states.get(move.schedule_id) or State(move.position_ms, move.definition)
            state = replace(state, position_ms=move.position_ms, definition=move.definition)
            self._states[move.schedule_id] = state
            self._next[move.schedule_id] = self._next_of(move.schedule_id)

    def next_ms(self) -> int | None:
        """When there is something to do next, as far as known."""
        return min((next_ms for next_ms in self._next.values() if next_ms is not None), default=None)

    def ahead(self, now_ms: int) -> list[str]:
        """Schedules that were settled beyond `now_ms`: a clock was wrong, or is. They wait until it has caught up."""
        return [name for name, state in self._states.items() if state.position_ms > now_ms + GRACE_MS]

    def _planned(self, name: str, now_ms: int) -> Planned | None:
        schedule, state = self.schedules[name], self._states.get(name)
        expected_ms = None if state is None else state.position_ms
        match step(schedule, state, now_ms):
            case Begin(position_ms):
                return Planned(Move(name, expected_ms, position_ms, schedule.definition))
            case Due(ticks, dropped, position_ms) if ticks or dropped:
                return Planned(Move(name, expected_ms, position_ms, schedule.definition, ticks), dropped)
            case _:
                return None

    def _next_of(self, name: str) -> int | None:
        schedule, state = self.schedules[name], self._states.get(name)
        if state is None or state.definition != schedule.definition:
            return 0
        return None if state.paused else next_due(schedule, state.position_ms)
