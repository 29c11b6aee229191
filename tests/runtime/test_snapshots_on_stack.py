"""Snapshots, total loss and recover on real Kafka and Redis."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry

from contracts.topics import INBOX, SHARDS, orchestrator_topics
from deploy.local.stack import Stack
from operations.endpoints import Endpoints
from orchestrator.cli import shards_real
from orchestrator.runtime import engine_loop
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.group_start_kafka import commit_start
from orchestrator.runtime.log import Place
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.mending import Mending
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.recovery import plan_repair
from orchestrator.runtime.restore import Restorer
from orchestrator.runtime.snapshotter import SnapshotSettings, Snapshotter
from orchestrator.runtime.store_redis import RedisStore
from orchestrator.runtime.topics_kafka import KafkaTopics
from tests.runtime.fake_engine import EFFECTS, fake_input, fake_rules, trace_of
from tests.runtime.real import create_topics, unique

pytestmark = pytest.mark.stack
LIMIT_S = 120.0
PROCESSES = 40


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    stack = Stack(tmp_path_factory.mktemp("snapshots"))
    found = stack.up(only=("kafka", "redis-orchestrator"))
    asyncio.run(_prepare(found))
    try:
        yield found
    finally:
        stack.down()


async def _prepare(endpoints: Endpoints) -> None:
    async with KafkaTopics(endpoints.kafka) as topics:
        await topics.apply(orchestrator_topics())
    await create_topics(endpoints.kafka, {EFFECTS: 4})


class Program:
    """An engine with its snapshotter, as orchestrator/app.py composes them, in this process."""

    def __init__(self, endpoints: Endpoints, instance: str) -> None:
        numbers = itertools.count()
        log, rules, metrics = KafkaLog(endpoints.kafka, instance), fake_rules(), Metrics(CollectorRegistry())
        self.metrics = metrics
        self.readiness = Readiness()
        self.store = RedisStore(endpoints.redis.orchestrator)

        def new_id() -> str:
            return f"{instance}-{next(numbers)}"

        self.loop = EngineLoop(
            log, self.store, rules, metrics.engine, self.readiness, EngineSettings(instance), new_id=new_id,
            on_append=self.observe,
        )  # fmt: skip
        self.snapshotter = Snapshotter(
            log, self.store, self.loop.ownership, rules, metrics.snapshots, self.readiness, time.monotonic, new_id,
            SnapshotSettings(0.5, 10_000.0, 7, 0.2),
        )  # fmt: skip
        restorer = Restorer(log, self.store, rules, metrics.snapshots, new_id)
        self.loop.ownership.mend_with(Mending(self.store, restorer, self.snapshotter, rules.semantics, new_id))

    def observe(self, at_ms: int) -> None:
        self.snapshotter.observe(at_ms)

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Program]:
        await self.snapshotter.open()
        await self.loop.open()
        tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(self.snapshotter.run())]
        try:
            yield self
        finally:
            self.loop.stop()
            self.snapshotter.stop()
            await asyncio.gather(*tasks)
            await self.loop.close()
            await self.snapshotter.close()
            await self.store.close()


async def append(endpoints: Endpoints, ids: list[str], steps: range) -> None:
    appender = await KafkaLog(endpoints.kafka, "test").appender()
    for step in steps:
        kind = "fake.start.v1" if step == 0 else "fake.step.v1"
        await appender.append([fake_input(process_id, f"s{step}", kind) for process_id in ids])
    await appender.close()


async def until(condition: object, program: Program) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():  # type: ignore[operator]  # noqa: ASYNC110 - what is awaited is outside
            await asyncio.sleep(0.05)


async def contents(program: Program, ids: list[str]) -> list[object]:
    store = program.store
    found: list[object] = [trace_of(blob) for blob in await store.blobs(ids)]
    found += [tuple(await store.history(name, 0, 1_000)) for name in ids]
    found.append(sorted((e.process_id, e.updated_at_ms) for e in await store.entries("fake:running", None, 1_000, 0)))
    return found


async def trim_to_cuts(endpoints: Endpoints, program: Program) -> int:
    """What retention does: the inbox of every shard begins at its cut. Returns how many records are gone."""
    states = await program.store.cut_states(range(SHARDS))
    cuts = {shard: state.offset for shard, state in states.items() if state.offset}
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.kafka)
    await admin.start()
    await admin.delete_records(
        {TopicPartition(INBOX, shard): RecordsToDelete(before_offset=cut) for shard, cut in cuts.items()}
    )
    await admin.close()
    return sum(cuts.values())


async def flush_redis(endpoints: Endpoints) -> None:
    async with redis.asyncio.Redis.from_url(endpoints.redis.orchestrator) as client:
        await client.flushall()


@pytest.fixture
async def group(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> str:
    name = unique("engine")
    monkeypatch.setattr(engine_loop, "ENGINE_GROUP", name)
    monkeypatch.setattr(shards_real, "ENGINE_GROUP", name)
    await commit_start(endpoints.kafka, name, INBOX)
    return name


async def worked(endpoints: Endpoints, ids: list[str]) -> tuple[list[object], int]:
    """Processes with a past below a cut and some steps behind it; the engine has stopped, and the past is trimmed."""
    program = Program(endpoints, "one")
    async with program.running():

        async def covered() -> bool:
            for shard in {Place(INBOX, s).partition for s in program.loop.ownership.active}:
                if await program.store.oldest_uncovered(shard) is not None:
                    return False
            return all(blob is not None and ":s3" in (trace_of(blob) or "") for blob in await program.store.blobs(ids))

        async def at_s5() -> bool:
            return all((trace_of(blob) or "").endswith(":s5") for blob in await program.store.blobs(ids))

        await append(endpoints, ids, range(4))
        await until(covered, program)
        cuts = program.count("counterpoint_snapshot_cuts_total")

        async def cut() -> bool:
            return program.count("counterpoint_snapshot_cuts_total") > cuts or await _all_cut(program, ids)

        await until(cut, program)
        program.snapshotter.stop()
        await append(endpoints, ids, range(4, 6))
        await until(at_s5, program)
        await program.loop.flush()
        before, gone = await contents(program, ids), await trim_to_cuts(endpoints, program)
    return before, gone


async def _all_cut(program: Program, ids: list[str]) -> bool:
    states = await program.store.cut_states(range(SHARDS))
    positions = await program.store.positions(range(SHARDS))
    return all(states[n].offset == p.next for n, p in positions.items() if p is not None)


async def test_an_empty_redis_over_a_trimmed_inbox_is_restored(endpoints: Endpoints, group: str) -> None:
    ids = [f"fake:{unique('lost')}" for _ in range(PROCESSES)]
    before, gone = await worked(endpoints, ids)
    assert gone >= PROCESSES
    await flush_redis(endpoints)

    program = Program(endpoints, "one")
    async with program.running():

        async def back() -> bool:
            return all((trace_of(blob) or "").endswith(":s5") for blob in await program.store.blobs(ids))

        await until(back, program)
        assert await contents(program, ids) == before
        assert program.count("counterpoint_restored_processes_total") >= PROCESSES
        await append(endpoints, ids, range(6, 7))

        async def goes_on() -> bool:
            return all((trace_of(blob) or "").endswith(":s6") for blob in await program.store.blobs(ids))

        await until(goes_on, program)
        assert program.loop.ownership.refused == {}


async def test_redis_and_the_offsets_are_gone_and_a_person_orders_the_repair(
    endpoints: Endpoints, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await flush_redis(endpoints)
    ids = [f"fake:{unique('both')}" for _ in range(PROCESSES)]
    program = Program(endpoints, "one")
    async with program.running():  # the records of the other test are another group's past

        async def refused() -> bool:
            return bool(program.loop.ownership.refused) and not program.loop.ownership._pending

        await until(refused, program)
        async with shards_real.open_shards(endpoints) as keeper:
            plans = [plan_repair(damage, "ann", 0) for damage in await keeper.damages(range(SHARDS))]
            assert {plan.damage.refusal.code for plan in plans} == {"nothing-stored"}
            assert "rebuild" in {plan.order and plan.order.action for plan in plans}
            await keeper.order([plan.order for plan in plans if plan.order is not None])
            program.loop.ownership.review_refused()

            async def recovered() -> bool:
                return not await keeper.unfinished(range(SHARDS))

            await until(recovered, program)
            assert list(await keeper.damages(range(SHARDS))) == []
        await append(endpoints, ids, range(2))

        async def works() -> bool:
            return all((trace_of(blob) or "").endswith(":s1") for blob in await program.store.blobs(ids))

        await until(works, program)
