"""The clock over a memory log and store: by broker time, never early by it, and not again before ten seconds are
over."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from contracts.ids import ORCHESTRATOR_SOURCE, partition_of
from contracts.process import TimerFired
from contracts.record import IncomingRecord
from contracts.topics import INBOX, LIFECYCLE, SHARDS
from orchestrator.engine.inputs import read_input
from orchestrator.runtime.clock import Clock, ClockSettings
from orchestrator.runtime.fired_timers import REPEAT_MAX_S, REPEAT_S, FiredTimers
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.store import Checkpoint, DueTimer, ProcessWrite, ShardPosition
from orchestrator.runtime.store_memory import MemoryStore

P = "order-fulfilment:o1"
SHARD = partition_of(P, SHARDS)
START_MS = 1_000_000


class World:
    """Broker time and monotonic time move together, unless a test makes them drift."""

    def __init__(self) -> None:
        self.broker_ms = START_MS
        self.monotonic_s = 500.0
        self.log = MemoryLog({INBOX: SHARDS, LIFECYCLE: 2}, lambda: self.broker_ms)
        self.store = MemoryStore()
        self.owned: set[int] = {SHARD}
        self.registry = CollectorRegistry()
        self.readiness = Readiness()
        self._writes: dict[int, int] = {}

    async def clock(self, settings: ClockSettings | None = None) -> Clock:
        clock = Clock(
            self.log, self.store, lambda: self.owned, Metrics(self.registry).clock, self.readiness, "clock-1",
            lambda: self.monotonic_s, settings,
        )  # fmt: skip
        await clock.open()
        return clock

    def wait(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.broker_ms += round(seconds * 1000)

    async def set(self, timer_id: str, due_ms: int, process: str = P) -> None:
        await self._write(process, ((timer_id, due_ms),), ())

    async def unset(self, timer_id: str, process: str = P) -> None:
        await self._write(process, (), (timer_id,))

    async def _write(self, process: str, timers: tuple[tuple[str, int], ...], unset: tuple[str, ...]) -> None:
        shard = partition_of(process, SHARDS)
        before = self._writes.get(shard)
        self._writes[shard] = after = (before or 0) + 1
        write = ProcessWrite(process, b"", (), timers, unset, (), (), 0)
        position = ShardPosition(after, "", f"{shard}-{after}", 1)
        await self.store.write([Checkpoint(shard, before, position, (write,), (), 1)])

    def fired(self) -> list[IncomingRecord]:
        return self.log.records(INBOX)

    def fired_ids(self) -> list[str]:
        return [json.loads(record.value or b"")["timer_id"] for record in self.fired()]

    def probes(self) -> int:
        return len(self.log.records(LIFECYCLE))

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def world() -> World:
    return World()


# What is appended, and when.


async def test_a_due_timer_becomes_an_input_of_its_process(world: World) -> None:
    clock = await world.clock()
    await world.set("charge/silence", START_MS - 250)

    assert await clock.step()

    (record,) = world.fired()
    assert record.partition == SHARD
    item = read_input(record)
    assert item.process_id == P and item.saga is None
    assert (item.envelope.source, item.envelope.type) == (ORCHESTRATOR_SOURCE, TimerFired.type)
    assert item.envelope.id == f"{P}/timer/charge/silence/{START_MS - 250}"
    assert item.envelope.process_id is None, "only a command's outcomes carry ce_processid"
    fired = TimerFired.model_validate_json(item.data)
    assert (fired.process_id, fired.timer_id, fired.due_ms) == (P, "charge/silence", START_MS - 250)
    assert world.count("counterpoint_timers_fired_total", kind="first") == 1
    assert world.count("counterpoint_timer_lateness_seconds_sum") == 0.25
    assert world.count("counterpoint_timers_due") == 1


async def test_a_timer_is_never_appended_before_it_is_due(world: World) -> None:
    clock = await world.clock()
    await world.set("later", START_MS + 1_000)
    await clock.step()
    for _ in range(9):
        world.wait(0.111)
        await clock.step()
    assert world.fired() == []

    world.wait(0.002)
    await clock.step()

    (record,) = world.fired()
    assert START_MS + 1_000 <= record.timestamp_ms <= START_MS + 1_001


async def test_timers_of_other_shards_are_left_to_their_owners(world: World) -> None:
    clock = await world.clock()
    other = "order-fulfilment:elsewhere"
    assert partition_of(other, SHARDS) != SHARD
    await world.set("theirs", START_MS - 1, other)
    await world.set("ours", START_MS - 1)
    await clock.step()
    assert world.fired_ids() == ["ours"]


async def test_a_shard_lost_during_the_look_is_left_alone(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS - 1)
    found = world.store.due_timers

    async def lose(*args: object) -> object:
        answer = await found(*args)  # type: ignore[arg-type]
        world.owned.clear()
        return answer

    world.store.due_timers = lose  # type: ignore[method-assign, assignment]
    assert await clock.step()
    assert world.fired() == []


async def test_without_a_shard_the_clock_does_nothing(world: World) -> None:
    world.owned.clear()
    world.store.faults.away = True
    clock = await world.clock()
    assert await clock.step()
    assert world.probes() == 0 and clock.now_ms() is None


# Repeats.


async def test_an_append_is_repeated_only_if_the_timer_is_still_set_ten_seconds_later(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    for _ in range(100):
        await clock.step()
        world.wait(0.0999)
    assert world.fired_ids() == ["t"]

    world.wait(0.1)
    await clock.step()
    await clock.step()

    assert world.fired_ids() == ["t", "t"]
    first, second = world.fired()
    assert first.headers[:2] == second.headers[:2], "the same id"
    assert first.value == second.value
    assert world.count("counterpoint_timers_fired_total", kind="again") == 1


async def test_a_timer_that_was_decided_is_not_repeated_and_not_remembered(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    await clock.step()
    await world.unset("t")
    world.wait(0.1)
    await clock.step()
    assert len(clock._fired) == 0
    world.wait(REPEAT_S)
    await clock.step()
    assert world.fired_ids() == ["t"]


async def test_a_timer_that_is_set_anew_is_another_one(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    await clock.step()
    world.wait(1)
    await world.set("t", START_MS + 500)
    await clock.step()
    assert world.fired_ids() == ["t", "t"]


async def test_while_no_engine_works_repeats_become_rarer(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    for _ in range(24 * 360):
        await clock.step()
        world.wait(10)
    assert 24 * 3_600 / REPEAT_MAX_S < len(world.fired()) < 24 * 3_600 / REPEAT_MAX_S + 10


async def test_a_shard_that_comes_back_is_looked_at_afresh(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    await clock.step()
    world.owned.clear()
    await clock.step()
    assert len(clock._fired) == 0
    world.owned.add(SHARD)
    await clock.step()
    assert world.fired_ids() == ["t", "t"]


async def test_a_look_takes_a_bounded_number_and_memory_is_bounded_by_it(world: World) -> None:
    clock = await world.clock(ClockSettings(timers_per_shard_max=3))
    for number in range(10):
        await world.set(f"t{number}", START_MS - 100 + number)
    await clock.step()
    assert world.fired_ids() == ["t0", "t1", "t2"] and len(clock._fired) == 3
    await world.unset("t0")
    await world.unset("t1")
    await clock.step()
    assert world.fired_ids() == ["t0", "t1", "t2", "t3", "t4"] and len(clock._fired) == 3


def test_a_timer_pushed_out_of_a_full_look_is_not_taken_for_decided() -> None:
    fired = FiredTimers()
    late, early = DueTimer(1, P, "late", 20), DueTimer(1, P, "early", 10)
    fired.appended(late, 0.0)
    fired.forget([early], {1}, limit=1, now_s=1.0)
    assert fired.wanted([late], 1.0) == []
    fired.forget([early], {1}, limit=1, now_s=REPEAT_S)
    assert fired.wanted([late], REPEAT_S) == [late] and len(fired) == 0
    fired.appended(early, 0.0)
    fired.forget([late], {1}, limit=1, now_s=0.0)
    assert len(fired) == 0, "an earlier one that is missing is decided"


# Faults.


async def test_a_log_that_is_away_is_waited_out(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    world.log.faults.away = True
    assert not await clock.step()
    assert "wait for the log" in (world.readiness.problem() or "")
    world.log.faults.away = False
    assert await clock.step()
    assert world.readiness.problem() is None and world.fired_ids() == ["t"]


@pytest.mark.parametrize("stored", [0, 1])
async def test_an_append_that_was_not_acknowledged_is_no_append(world: World, stored: int) -> None:
    clock = await world.clock()
    await clock.step()
    await world.set("t", START_MS)
    world.log.faults.append_cuts = [stored]
    assert not await clock.step()
    assert await clock.step()
    assert world.fired_ids() == ["t"] * (stored + 1)
    assert world.count("counterpoint_timers_fired_total", kind="first") == 1


async def test_a_store_that_is_away_is_waited_out(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS)
    world.store.faults.away = True
    assert not await clock.step()
    assert "wait for the store" in (world.readiness.problem() or "")
    world.store.faults.away = False
    assert await clock.step()
    assert world.readiness.problem() is None and world.fired_ids() == ["t"]


async def test_run_looks_again_and_again_until_it_is_stopped(world: World) -> None:
    clock = await world.clock(ClockSettings(poll_interval_s=0.001))
    run = asyncio.create_task(clock.run())
    await asyncio.sleep(0.01)
    await world.set("t", START_MS)
    await asyncio.sleep(0.02)
    clock.stop()
    await asyncio.wait_for(run, 1)
    await clock.close()
    assert world.fired_ids() == ["t"]
