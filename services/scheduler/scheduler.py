"""One replica of the scheduler: it waits for the lease, and while it has it, it announces what is due.

Order: publish, await every ack, then move the position by compare-and-set under the lease's fence. A crash between the
two announces the same due time again, with the same id. A replica stops announcing `MARGIN_S` before its lease can
end: its producer is cut off before another replica may take over (docs/decisions/0110-the-scheduler.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from contracts.record import OutgoingRecord
from services.scheduler.agenda import Agenda, Planned
from services.scheduler.announce import record_of
from services.scheduler.declarations import declared_json
from services.scheduler.due import State
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.schedule import Schedule
from services.scheduler.store import Lease, Move, Run, ScheduleStore, Settled
from services.sdk.failures import BusAwayError, StoreAwayError
from services.sdk.surroundings import Surroundings

LEASE_S = 15.0
MARGIN_S = 6.0
"""Its holder stops so long before a lease ends: more than a producer takes to be cut off (STOP_LIMIT_S of the SDK)."""
RENEW_S = 2.0
LOOK_S = 0.5
"""Longest pause between two looks at the clock, which may leap."""
FOLLOW_S = 1.0
"""Pause between two looks at a lease that is another's."""
PAUSE_MAX_S = 5.0
STOP_S = 10.0
"""How long a stop waits for what is being announced."""

log = structlog.get_logger("services.scheduler")


class Publisher(Protocol):
    """As `services.sdk.ports.Bus`."""

    problem: str | None

    def publish(self, records: Sequence[OutgoingRecord]) -> Awaitable[None]: ...

    async def close(self) -> None:
        """Nothing more is sent once this returns, at most a few seconds later."""
        ...


class LeaseLost(Exception):
    """Another replica may announce from now on."""


@dataclass(slots=True)
class _Tenure:
    """`until_s`: monotonic time at which this replica stops to count on its lease."""

    lease: Lease
    until_s: float
    renewed_s: float
    publisher: Publisher
    seen: int = -1
    """Changes by people that have been read."""


class Scheduler:
    """`run` returns after `stop`. `holder` is unique to this OS process."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        store: ScheduleStore,
        open_publisher: Callable[[], Publisher],
        around: Surroundings,
        metrics: SchedulerMetrics,
        holder: str,
        lease_s: float = LEASE_S,
    ) -> None:
        self._schedules = tuple(schedules)
        self._store = store
        self._open_publisher = open_publisher
        self._around = around
        self._metrics = metrics
        self._holder = holder
        self._lease_s = lease_s
        self._agenda = Agenda(schedules)
        self._tenure: _Tenure | None = None
        self._unsettled: dict[str, Move] = {}
        """Announced, and the store did not take it: told to it first, lest it be announced again."""
        self._undone: list[Run] = []
        self._told: dict[str, str | None] = {}
        self._problem: str | None = "not started"
        self._stopping = asyncio.Event()

    @property
    def leads(self) -> bool:
        return self._tenure is not None

    @property
    def problem(self) -> str | None:
        """One line for `/readyz`, or None. A replica that waits for the lease is ready."""
        tenure = self._tenure
        return self._problem or (tenure.publisher.problem if tenure is not None else None)

    def stop(self) -> None:
        """Finish what is being announced, within STOP_S, give up the lease, and return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Cancelling it is like a crash."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._turn()
                failures = 0
            except LeaseLost as error:
                self._metrics.lost.inc()
                log.warning("lost the lease", holder=self._holder, detail=str(error))
            except (StoreAwayError, BusAwayError) as error:
                failures += 1
                await self._wait_out(error, failures)
        await self._leave()

    async def _turn(self) -> None:
        """Wait for the lease, then lead until it is lost or the stop comes."""
        asked_s = self._around.monotonic_s()
        lease = await self._store.hold(self._holder, round(self._lease_s * 1_000))
        self._problem = None
        if lease is None:
            await self._pause(FOLLOW_S)
            return
        tenure = _Tenure(lease, asked_s + self._lease_s - MARGIN_S, asked_s, self._open_publisher())
        self._tenure = tenure
        self._metrics.leader.set(1)
        log.info("leads", holder=self._holder, fence=lease.fence, schedules=len(self._schedules))
        try:
            await self._lead(tenure)
        finally:
            self._tenure = None
            self._metrics.leader.set(0)
            await tenure.publisher.close()
            if self._stopping.is_set():
                await self._released(tenure.lease)

    async def _lead(self, tenure: _Tenure) -> None:
        declared = {schedule.id: declared_json(schedule) for schedule in self._schedules}
        if not await self._store.declare(tenure.lease, declared):
            raise LeaseLost("before it began")
        while not self._stopping.is_set():
            if self._around.monotonic_s() - tenure.renewed_s >= LOOK_S and not await self._renew(tenure):
                # What was announced now could not be noted, and would be announced again.
                await self._pause(LOOK_S)
                continue
            await self._tell_again(tenure)
            if tenure.seen != tenure.lease.changes:
                await self._read(tenure)
            if not await self._announce_due(tenure):
                await self._pause(self._idle_s())

    async def _renew(self, tenure: _Tenure) -> bool:
        """False: the store does not answer, and the lease still counts. Raises LeaseLost."""
        asked_s = self._around.monotonic_s()
        try:
            async with asyncio.timeout(max(0.0, tenure.until_s - asked_s)):
                lease = await self._store.hold(self._holder, round(self._lease_s * 1_000))
        except (StoreAwayError, TimeoutError) as error:
            self._fault("store", str(error) or "no answer")
            if self._around.monotonic_s() >= tenure.until_s:
                raise LeaseLost("it could not be renewed in time") from None
            return False
        if lease is None or lease.fence != tenure.lease.fence:
            raise LeaseLost("it had ended")
        tenure.lease, tenure.renewed_s, tenure.until_s = lease, asked_s, asked_s + self._lease_s - MARGIN_S
        self._problem = None
        return True

    async def _tell_again(self, tenure: _Tenure) -> None:
        """What was announced in an earlier turn and not stored. Of another replica's turn in between, that went on from
        where this one stood, the position says so, and the compare-and-set drops ours."""
        if self._unsettled:
            await self._settle(tenure, list(self._unsettled.values()))
            tenure.seen = -1
        if self._undone:
            await self._store.done(self._undone)
            self._undone.clear()

    async def _read(self, tenure: _Tenure) -> None:
        """What is stored, and the runs that people want."""
        seen = tenure.lease.changes
        states = await self._store.states([schedule.id for schedule in self._schedules])
        self._agenda.load(states)
        self._hear(states)
        ahead = self._agenda.ahead(self._around.now_ms())
        self._metrics.ahead.set(len(ahead))
        if ahead:
            log.warning("settled beyond the clock; `resume` brings them back", schedules=ahead[:10], count=len(ahead))
        runs = await self._store.runs()
        wanted = [run for run in runs if run.schedule_id in self._agenda.schedules]
        if wanted:
            records = [record_of(self._agenda.schedules[run.schedule_id], run.at_ms, run.run_id) for run in wanted]
            await self._publish(tenure, records)
            for run in wanted:
                self._metrics.runs.labels(run.schedule_id).inc()
                log.info("ran on request", schedule=run.schedule_id, run=run.run_id)
        self._undone = runs
        tenure.seen = seen

    def _hear(self, states: Mapping[str, State]) -> None:
        """The log has what people wanted, as far as this replica was there."""
        for name, state in states.items():
            if name in self._told and state.told != self._told[name]:
                log.info("told", schedule=name, what=state.told, paused=state.paused)
            self._told[name] = state.told

    async def _announce_due(self, tenure: _Tenure) -> bool:
        """Whether there was anything to do."""
        planned = self._agenda.planned(self._around.now_ms())
        if not planned:
            return False
        schedules = self._agenda.schedules
        records = [record_of(schedules[one.move.schedule_id], at, None) for one in planned for at in one.move.ticks]
        if records:
            await self._publish(tenure, records)
        self._unsettled.update({one.move.schedule_id: one.move for one in planned})
        self._note(planned)
        await self._settle(tenure, [one.move for one in planned])
        return True

    async def _publish(self, tenure: _Tenure, records: Sequence[OutgoingRecord]) -> None:
        """Returns after every ack. Raises LeaseLost: then nothing more is sent."""
        if self._around.monotonic_s() >= tenure.until_s:
            raise LeaseLost("before announcing")
        task = asyncio.ensure_future(tenure.publisher.publish(records))
        stopped_s: float | None = None
        try:
            while True:
                left_s = tenure.until_s - self._around.monotonic_s()
                await self._either(task, min(RENEW_S, max(0.0, left_s)))
                if task.done():
                    return task.result()
                await self._renew(tenure)
                if self._stopping.is_set():
                    stopped_s = stopped_s or self._around.monotonic_s()
                    if self._around.monotonic_s() - stopped_s > STOP_S:
                        raise LeaseLost("stopped while Kafka does not take records")
        finally:
            task.cancel()

    async def _settle(self, tenure: _Tenure, moves: Sequence[Move]) -> None:
        """Raises LeaseLost, StoreAwayError: what is not stored stays in `_unsettled`."""
        settled = await self._store.settle(tenure.lease, moves)
        done = [move for move, how in zip(moves, settled, strict=True) if how is Settled.DONE]
        for move, how in zip(moves, settled, strict=True):
            if how is not Settled.LOST:
                self._unsettled.pop(move.schedule_id, None)
        self._agenda.settled(done)
        if Settled.LOST in settled:
            raise LeaseLost("found out when the position was stored")
        if Settled.MOVED in settled:
            # Somebody resumed it, or an earlier answer was lost: read what is there.
            tenure.seen = -1

    def _note(self, planned: Sequence[Planned]) -> None:
        now_ms = self._around.now_ms()
        for one in planned:
            name, ticks = one.move.schedule_id, one.move.ticks
            delay_ms = self._agenda.schedules[name].delay_ms
            for due_ms in ticks:
                self._metrics.late.observe(max(0, now_ms - due_ms - delay_ms) / 1_000)
            if ticks:
                self._metrics.ticks.labels(name).inc(len(ticks))
            if one.dropped:
                self._metrics.dropped.labels(name).inc(one.dropped)
                log.warning("missed", schedule=name, dropped=one.dropped, announced=len(ticks))

    def _idle_s(self) -> float:
        next_ms = self._agenda.next_ms()
        left_s = LOOK_S if next_ms is None else (next_ms - self._around.now_ms()) / 1_000
        return min(LOOK_S, max(0.0, left_s))

    def _fault(self, what: str, detail: str) -> None:
        if self._problem is None:
            log.warning("waiting", what=what, detail=detail)
        self._problem = f"scheduler: waiting for the {what}: {detail}"
        self._metrics.faults.labels(what).inc()

    async def _wait_out(self, error: Exception, failures: int) -> None:
        self._fault("store" if isinstance(error, StoreAwayError) else "bus", str(error))
        await self._pause(min(PAUSE_MAX_S, 0.1 * 2.0 ** min(failures - 1, 10)))

    async def _released(self, lease: Lease) -> None:
        try:
            await self._store.release(lease)
        except StoreAwayError as error:
            log.info("the lease ends by itself", detail=str(error))

    async def _leave(self) -> None:
        if self._unsettled:
            log.warning("stopped with positions not stored", schedules=sorted(self._unsettled)[:10])

    async def _pause(self, wait_s: float) -> None:
        """Cut short by a stop."""
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await self._either(stopped, wait_s)
        finally:
            stopped.cancel()

    async def _either(self, task: asyncio.Task[Any], wait_s: float) -> None:
        """Until `task` has ended, at most `wait_s` seconds of the surroundings' clock."""
        slept = asyncio.ensure_future(self._around.sleep(wait_s))
        try:
            await asyncio.wait((task, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            slept.cancel()
