"""Whose time the clock goes by, and whose shards: the broker's, and those that the group gives it."""

from __future__ import annotations

import asyncio
import json

import pytest

from contracts.topics import LIFECYCLE, SHARDS
from orchestrator.runtime.broker_time import ANCHOR_KEPT_S, BrokerTime
from orchestrator.runtime.clock import SILENCE_S
from orchestrator.runtime.clock_ownership import ClockOwnership
from orchestrator.runtime.readiness import Readiness
from tests.runtime.test_clock import SHARD, START_MS, World


@pytest.fixture
def world() -> World:
    return World()


async def test_on_a_claim_the_clock_asks_for_the_brokers_time(world: World) -> None:
    clock = await world.clock()
    await clock.step()
    await clock.step()
    assert world.probes() == 1 and clock.now_ms() == START_MS
    assert world.count("counterpoint_clock_probes_total") == 1
    (probe,) = world.log.records(LIFECYCLE)
    assert dict(probe.headers)["ce_type"] == b"orchestrator.clock-probe.v1"
    assert json.loads(probe.value or b"") == {"instance": "clock-1"}

    world.owned.add(SHARD + 1)
    clock.observe(START_MS)
    await clock.step()
    assert world.probes() == 2

    world.owned.discard(SHARD)
    await clock.step()
    assert world.probes() == 2
    world.owned.add(SHARD)
    await clock.step()
    assert world.probes() == 3


async def test_after_thirty_seconds_without_an_append_the_clock_asks_again(world: World) -> None:
    clock = await world.clock()
    await clock.step()
    world.wait(SILENCE_S - 0.1)
    await clock.step()
    assert world.probes() == 1
    world.wait(0.1)
    await clock.step()
    assert world.probes() == 2
    world.wait(SILENCE_S - 1)
    clock.observe(world.broker_ms)
    world.wait(2)
    await clock.step()
    assert world.probes() == 2, "an append of the engine's will do"
    ids = {dict(record.headers)["ce_id"] for record in world.log.records(LIFECYCLE)}
    assert len(ids) == 2


async def test_time_goes_on_between_appends_by_monotonic_time(world: World) -> None:
    clock = await world.clock()
    await clock.step()
    world.wait(12.345)
    assert clock.now_ms() == START_MS + 12_345


async def test_a_wrong_wall_clock_of_ours_means_nothing_and_a_broker_that_is_ahead_is_followed(world: World) -> None:
    clock = await world.clock()
    await world.set("t", START_MS + 60_000)
    await clock.step()
    clock.observe(START_MS + 60_000)
    world.broker_ms += 60_000
    await clock.step()
    assert world.fired_ids() == ["t"]


def test_a_late_ack_does_not_turn_time_back() -> None:
    now_s = 0.0
    time = BrokerTime(lambda: now_s)
    assert time.now_ms() is None and time.silent_s() is None
    time.observe(10_000)
    now_s = 0.5
    time.observe(10_200)
    assert time.now_ms() == 10_500
    time.observe(10_600)
    assert time.now_ms() == 10_600


def test_a_monotonic_clock_that_runs_fast_does_not_bring_the_estimate_ahead() -> None:
    """One percent fast for an hour, an append every 0.3 s: the estimate stays within what one anchor lasts."""
    now_s = 0.0
    time = BrokerTime(lambda: now_s)
    broker_ms = 0
    for _ in range(12_000):
        broker_ms += 300
        now_s += 0.303
        time.observe(broker_ms)
        estimate = time.now_ms()
        assert estimate is not None and 0 <= estimate - broker_ms <= ANCHOR_KEPT_S * 1000 * 0.01 + 3


async def test_a_firing_that_came_too_early_is_made_good_once_the_clock_knows_better(world: World) -> None:
    """The broker's clock was set back by a minute: the engine ignores the early one, and the timer stays set."""
    clock = await world.clock()
    await world.set("t", START_MS + 5_000)
    await clock.step()
    world.wait(4)
    world.broker_ms -= 60_000
    world.monotonic_s += 1
    await clock.step()
    assert world.fired_ids() == ["t"] and world.fired()[0].timestamp_ms < START_MS + 5_000

    for _ in range(400):
        world.wait(0.2)
        await clock.step()

    assert world.fired_ids() == ["t", "t", "t"]
    assert START_MS + 5_000 <= world.fired()[1].timestamp_ms <= START_MS + 5_200


# Where no engine runs in the same program.


async def test_clocks_alone_share_the_shards_and_read_nothing(world: World) -> None:
    first, second = ClockOwnership(world.log, world.readiness, 1), ClockOwnership(world.log, Readiness(), 1)
    await first.open()
    assert first.owned == frozenset(range(SHARDS))
    await world.set("t", START_MS)
    clock = await world.clock()
    await clock.step()
    await first.step(0)

    await second.open()
    assert first.owned | second.owned == frozenset(range(SHARDS)) and not first.owned & second.owned

    await second.close()
    assert first.owned == frozenset(range(SHARDS)) and second.owned == frozenset()


async def test_a_clock_alone_says_when_the_log_is_away(world: World) -> None:
    ownership = ClockOwnership(world.log, world.readiness, 1)
    await ownership.open()
    run = asyncio.create_task(ownership.run())
    world.log.faults.away = True
    await asyncio.sleep(0.01)
    assert world.readiness.problem() == "clock: the log is away"
    ownership.stop()
    await asyncio.wait_for(run, 1)
    await ownership.close()
