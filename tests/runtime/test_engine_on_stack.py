"""The engine on real Kafka and Redis, under the faults of real life: kill -9, either server away, Redis back in
time."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis.asyncio

from contracts.record import IncomingRecord
from contracts.topics import INBOX, LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from deploy.local.stack import Stack
from operations.endpoints import Endpoints
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.group_start_kafka import commit_start
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.store import StoreUnavailable
from orchestrator.runtime.store_redis import RedisStore
from tests.runtime.fake_engine import EFFECTS, fake_input, trace_of
from tests.runtime.real import create_topics, unique

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0
STEPS = 12
PROCESSES = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("engine"))
    endpoints = stack.up(only=("kafka", "redis-orchestrator"))
    asyncio.run(_prepare(endpoints))
    try:
        yield stack
    finally:
        stack.down()


async def _prepare(endpoints: Endpoints) -> None:
    await create_topics(endpoints.kafka, {INBOX: SHARDS, EFFECTS: 4, LIFECYCLE: 1, ORCHESTRATOR_DEAD_LETTERS: 1})
    await commit_start(endpoints.kafka, ENGINE_GROUP, INBOX)


@pytest.fixture
async def store(stack: Stack) -> AsyncIterator[RedisStore]:
    found = RedisStore(stack.endpoints.redis.orchestrator)
    yield found
    await found.close()


@contextmanager
def engine(endpoints: Endpoints) -> Iterator[subprocess.Popen[bytes]]:
    command = (sys.executable, "-m", "tests.runtime.engine_program", endpoints.kafka, endpoints.redis.orchestrator)
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def names(word: str) -> list[str]:
    tag = unique(word)
    return [f"fake:{tag}-{number}" for number in range(PROCESSES)]


async def append(endpoints: Endpoints, ids: list[str], steps: range) -> None:
    """Each process' steps in order; step 0 starts it."""
    appender = await KafkaLog(endpoints.kafka, "test").appender()
    for step in steps:
        kind = "fake.start.v1" if step == 0 else "fake.step.v1"
        await appender.append([fake_input(process_id, f"s{step}", kind) for process_id in ids])
    await appender.close()


async def until_stored(store: RedisStore, ids: list[str], last: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                blobs = await store.blobs(ids)
            except StoreUnavailable:
                blobs = [None]
            if all(f":s{last} " in f"{trace_of(blob)} " for blob in blobs):
                return
            await asyncio.sleep(0.05)


async def effects(endpoints: Endpoints, ids: list[str]) -> Counter[str]:
    """How often each effect of these processes was published."""
    subscription = await KafkaLog(endpoints.kafka, unique("reader")).subscribe(
        unique("reader"), frozenset((EFFECTS,)), None, "committed"
    )
    records: list[IncomingRecord] = []
    async with asyncio.timeout(LIMIT_S):
        while not records or subscription.lag():
            for found in (await subscription.poll(500)).values():
                records.extend(found)
    await subscription.close()
    wanted = set(ids)
    found_ids = (dict(record.headers)["ce_id"].decode() for record in records)
    return Counter(found for found in found_ids if found.rsplit("/", 1)[0] in wanted)


async def assert_whole(store: RedisStore, endpoints: Endpoints, ids: list[str], steps: int) -> Counter[str]:
    """Every input folded exactly once and in order, every effect published at least once, none that nobody decided."""
    expected = [f"s{step}" for step in range(steps)]
    for process_id, blob in zip(ids, await store.blobs(ids), strict=True):
        trace = [entry.split(":")[1] for entry in (trace_of(blob) or "").split()]
        assert trace == expected, process_id
        history = [entry.decode().split(":")[1] for entry in await store.history(process_id, 0, 1_000)]
        assert history == expected, process_id
    published = await effects(endpoints, ids)
    assert set(published) == {f"{process_id}/s{step}" for process_id in ids for step in range(steps)}
    return published


async def test_an_undisturbed_run_publishes_every_effect_once(stack: Stack, store: RedisStore) -> None:
    ids = names("calm")
    with engine(stack.endpoints) as process:
        await append(stack.endpoints, ids, range(STEPS))
        await until_stored(store, ids, STEPS - 1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    published = await assert_whole(store, stack.endpoints, ids, STEPS)
    assert set(published.values()) == {1}


async def test_killed_in_the_middle_of_its_work(stack: Stack, store: RedisStore) -> None:
    ids = names("killed")
    await append(stack.endpoints, ids, range(2))
    for life in range(3):
        with engine(stack.endpoints) as process:
            await append(stack.endpoints, ids, range(2 + life * 3, 5 + life * 3))
            await until_stored(store, ids, life * 3)
            process.kill()
    with engine(stack.endpoints):
        await until_stored(store, ids, 10)
    await assert_whole(store, stack.endpoints, ids, 11)


async def test_redis_dies_and_comes_back_perhaps_in_the_past(stack: Stack, store: RedisStore) -> None:
    ids = names("redis")
    with engine(stack.endpoints):
        await append(stack.endpoints, ids, range(4))
        await until_stored(store, ids, 3)
        await asyncio.to_thread(stack.kill, "redis-orchestrator")
        await append(stack.endpoints, ids, range(4, 8))
        await asyncio.to_thread(stack.start, "redis-orchestrator")
        await append(stack.endpoints, ids, range(8, STEPS))
        await until_stored(store, ids, STEPS - 1)
    await assert_whole(store, stack.endpoints, ids, STEPS)


async def test_redis_is_set_back_under_a_living_engine(stack: Stack, store: RedisStore) -> None:
    """What a failover to a stale replica does: every key as it was a while ago."""
    ids = names("rewound")
    async with redis.asyncio.Redis.from_url(stack.endpoints.redis.orchestrator) as client:
        with engine(stack.endpoints):
            await append(stack.endpoints, ids, range(4))
            await until_stored(store, ids, 3)
            image = {key: await client.dump(key) for key in await client.keys("cp:*")}
            await append(stack.endpoints, ids, range(4, 8))
            await until_stored(store, ids, 7)
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.flushall()
                for key, dump in image.items():
                    pipeline.restore(key, 0, dump)
                await pipeline.execute()
            await append(stack.endpoints, ids, range(8, STEPS))
            await until_stored(store, ids, STEPS - 1)
    await assert_whole(store, stack.endpoints, ids, STEPS)


async def test_kafka_dies_and_comes_back(stack: Stack, store: RedisStore) -> None:
    ids = names("kafka")
    with engine(stack.endpoints) as process:
        await append(stack.endpoints, ids, range(6))
        await asyncio.to_thread(stack.kill, "kafka")
        await asyncio.to_thread(stack.start, "kafka")
        await append(stack.endpoints, ids, range(6, STEPS))
        await until_stored(store, ids, STEPS - 1)
        assert process.poll() is None, "it waits, it does not end"
    await assert_whole(store, stack.endpoints, ids, STEPS)
