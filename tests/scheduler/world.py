"""Replicas of the scheduler over a memory store and a memory log, on a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from contracts.envelope import decode_headers
from contracts.record import OutgoingRecord
from contracts.schedules import ScheduleTick
from services.scheduler.due import State
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.schedule import Schedule
from services.scheduler.scheduler import Scheduler
from services.scheduler.store import Lease, Move, Run, Settled
from services.scheduler.store_memory import MemoryStore
from services.scheduler.timing import ms_of
from services.sdk.failures import StoreAwayError
from services.sdk.surroundings import Surroundings

START_MS = 1_767_225_600_000
TURNS = 30
"""Turns of the event loop after each move of the clock: enough for all that became due to be done."""


@dataclass
class Log:
    """What is published. `away`: nothing is taken until it is back."""

    records: list[OutgoingRecord] = field(default_factory=list)
    back: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.back.set()

    def ticks(self, schedule_id: str = "s") -> list[int]:
        """Due times in the order of the log, repeats included."""
        found = [ScheduleTick.model_validate_json(record.value) for record in self.records]
        return [ms_of(tick.due_at) for tick in found if tick.schedule_id == schedule_id]

    def repeats(self) -> dict[str, int]:
        """Ids that are there more than once."""
        ids = Counter(decode_headers(record.headers).id for record in self.records)
        return {identity: count for identity, count in ids.items() if count > 1}


class Producer:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._closed = False
        self.problem: str | None = None

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Like the real one: giving up waiting does not take back what is on its way; only closing does."""
        await asyncio.shield(asyncio.ensure_future(self._send(records)))

    async def _send(self, records: Sequence[OutgoingRecord]) -> None:
        await self._log.back.wait()
        if not self._closed:
            self._log.records.extend(records)

    async def close(self) -> None:
        self._closed = True


class Line:
    """One replica's way to the common store, which can be cut: `away`, or only for what is stored (`deaf`)."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.away = False
        self.crash_at_settle = False
        self.reply_lost = False

    async def check(self) -> Sequence[str]:
        return ()

    async def hold(self, holder: str, lease_ms: int) -> Lease | None:
        self._reach()
        return await self._store.hold(holder, lease_ms)

    async def release(self, lease: Lease) -> None:
        self._reach()
        await self._store.release(lease)

    async def leader(self) -> str | None:
        return await self._store.leader()

    async def declare(self, lease: Lease, declared: Mapping[str, Mapping[str, Any]]) -> bool:
        self._reach()
        return await self._store.declare(lease, declared)

    async def declared(self) -> dict[str, dict[str, Any]]:
        return await self._store.declared()

    async def states(self, ids: Sequence[str]) -> dict[str, State]:
        self._reach()
        return await self._store.states(ids)

    async def settle(self, lease: Lease, moves: Sequence[Move]) -> list[Settled]:
        if self.crash_at_settle and any(move.ticks for move in moves):
            await asyncio.Event().wait()
        self._reach()
        settled = await self._store.settle(lease, moves)
        if self.reply_lost and any(move.ticks for move in moves):
            self.reply_lost = False
            raise StoreAwayError("the answer was lost")
        return settled

    async def pause(self, schedule_id: str, told: str) -> Any:
        return await self._store.pause(schedule_id, told)

    async def resume(self, schedule_id: str, at_ms: int, told: str) -> Any:
        return await self._store.resume(schedule_id, at_ms, told)

    async def ask(self, run: Run, told: str) -> Any:
        return await self._store.ask(run, told)

    async def runs(self) -> list[Run]:
        self._reach()
        return await self._store.runs()

    async def done(self, runs: Sequence[Run]) -> None:
        self._reach()
        await self._store.done(runs)

    def _reach(self) -> None:
        if self.away:
            raise StoreAwayError("cut off")


@dataclass
class Replica:
    scheduler: Scheduler
    line: Line
    task: asyncio.Task[None]

    async def kill(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


class World:
    def __init__(self) -> None:
        self.wall_ms = START_MS
        self.monotonic_s = 1_000.0
        self.log = Log()
        self.store = MemoryStore(lambda: self.monotonic_s)
        self.replicas: list[Replica] = []
        self._moved = asyncio.Condition()

    def start(self, *schedules: Schedule, lease_s: float = 15.0) -> Replica:
        line = Line(self.store)
        around = Surroundings(
            now_ms=lambda: self.wall_ms,
            monotonic_s=lambda: self.monotonic_s,
            sleep=self._sleep,
            random=lambda: 0.5,
            token=lambda: "t",
        )
        metrics = SchedulerMetrics(CollectorRegistry())
        holder = f"replica-{len(self.replicas)}"
        scheduler = Scheduler(schedules, line, lambda: Producer(self.log), around, metrics, holder, lease_s)
        replica = Replica(scheduler, line, asyncio.create_task(scheduler.run()))
        self.replicas.append(replica)
        return replica

    async def _sleep(self, seconds: float) -> None:
        until_s = self.monotonic_s + seconds
        async with self._moved:
            await self._moved.wait_for(lambda: self.monotonic_s >= until_s)

    async def advance(self, seconds: float, step_s: float = 0.5) -> None:
        """Both clocks."""
        for _ in range(round(seconds / step_s)):
            self.monotonic_s += step_s
            self.wall_ms += round(step_s * 1_000)
            await self.settle()

    async def settle(self) -> None:
        async with self._moved:
            self._moved.notify_all()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def leaders(self) -> list[Replica]:
        return [one for one in self.replicas if one.scheduler.leads and not one.task.done()]

    async def end(self) -> None:
        for replica in self.replicas:
            await replica.kill()
