"""The store in memory, for tests: the same promises, and an outage to order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.scheduler.due import State
from services.scheduler.store import RUNS_MAX, Lease, Move, Run, Settled, Told
from services.sdk.failures import StoreAwayError


class MemoryStore:
    """`monotonic_s`: what leases are measured by. `away`: every call fails."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self.away = False
        self._holder: tuple[str, int, float] | None = None
        self._fences = 0
        self._changes = 0
        self._declared: dict[str, dict[str, Any]] = {}
        self._states: dict[str, State] = {}
        self._runs: dict[tuple[str, str], Run] = {}

    async def check(self) -> Sequence[str]:
        self._reach()
        return ()

    async def hold(self, holder: str, lease_ms: int) -> Lease | None:
        self._reach()
        held = self._held()
        if held is not None and held[0] != holder:
            return None
        if held is None:
            self._fences += 1
        fence = self._fences if held is None else held[1]
        self._holder = (holder, fence, self._monotonic_s() + lease_ms / 1_000)
        return Lease(holder, fence, self._changes)

    async def release(self, lease: Lease) -> None:
        self._reach()
        if self._has(lease):
            self._holder = None

    async def leader(self) -> str | None:
        self._reach()
        held = self._held()
        return None if held is None else held[0]

    async def declare(self, lease: Lease, declared: Mapping[str, Mapping[str, Any]]) -> bool:
        self._reach()
        if not self._has(lease):
            return False
        self._declared = {name: dict(content) for name, content in declared.items()}
        return True

    async def declared(self) -> dict[str, dict[str, Any]]:
        self._reach()
        return {name: dict(content) for name, content in self._declared.items()}

    async def states(self, ids: Sequence[str]) -> dict[str, State]:
        self._reach()
        return {name: self._states[name] for name in ids if name in self._states}

    async def settle(self, lease: Lease, moves: Sequence[Move]) -> list[Settled]:
        self._reach()
        return [self._settle(lease, move) for move in moves]

    def _settle(self, lease: Lease, move: Move) -> Settled:
        if not self._has(lease):
            return Settled.LOST
        state = self._states.get(move.schedule_id)
        if (None if state is None else state.position_ms) != move.expected_ms:
            return Settled.MOVED
        state = replace(state or State(0, ""), position_ms=move.position_ms, definition=move.definition)
        if move.ticks:
            state = replace(state, fired_ms=move.ticks[-1], fired=state.fired + len(move.ticks))
        self._states[move.schedule_id] = state
        return Settled.DONE

    async def pause(self, schedule_id: str, told: str) -> Told:
        self._reach()
        state = self._states.get(schedule_id)
        if state is None or schedule_id not in self._declared:
            return Told.UNKNOWN
        if state.paused:
            return Told.NOTHING
        self._states[schedule_id] = replace(state, paused=True, told=told)
        self._changes += 1
        return Told.DONE

    async def resume(self, schedule_id: str, at_ms: int, told: str) -> Told:
        self._reach()
        state = self._states.get(schedule_id)
        if state is None or schedule_id not in self._declared:
            return Told.UNKNOWN
        if not state.paused and state.position_ms <= at_ms:
            return Told.NOTHING
        self._states[schedule_id] = replace(state, paused=False, position_ms=at_ms, told=told)
        self._changes += 1
        return Told.DONE

    async def ask(self, run: Run, told: str) -> Told:
        self._reach()
        state = self._states.get(run.schedule_id)
        if state is None or run.schedule_id not in self._declared:
            return Told.UNKNOWN
        if len(self._runs) >= RUNS_MAX:
            return Told.FULL
        self._runs.setdefault((run.schedule_id, run.run_id), run)
        self._states[run.schedule_id] = replace(state, told=told)
        self._changes += 1
        return Told.DONE

    async def runs(self) -> list[Run]:
        self._reach()
        return sorted(self._runs.values(), key=lambda run: (run.at_ms, run))

    async def done(self, runs: Sequence[Run]) -> None:
        self._reach()
        for run in runs:
            self._runs.pop((run.schedule_id, run.run_id), None)

    def _held(self) -> tuple[str, int, float] | None:
        return self._holder if self._holder is not None and self._holder[2] > self._monotonic_s() else None

    def _has(self, lease: Lease) -> bool:
        held = self._held()
        return held is not None and held[:2] == (lease.holder, lease.fence)

    def _reach(self) -> None:
        if self.away:
            raise StoreAwayError("the store is away")
