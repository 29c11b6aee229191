"""One suite for every adapter of the audit's store: memory, Redis, and Redis Cluster (one node, all slots); and the
main damages planted in real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import redis.asyncio

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.engine.process import ENGINE_SEMANTICS, Process, encode_process
from orchestrator.runtime.audit_memory import MemoryAuditStore
from orchestrator.runtime.audit_redis import RedisAuditStore
from orchestrator.runtime.audit_store import AuditStore, Mend, Name, Wanted
from orchestrator.runtime.auditor import Auditor, Pace
from orchestrator.runtime.checkpoint import process_write
from orchestrator.runtime.store import Checkpoint, ShardPosition, WriteResult
from orchestrator.runtime.store_memory import MemoryStore
from orchestrator.runtime.store_redis import RedisStore
from tests.runtime.audit_world import AuditWorld
from tests.runtime.real import private_redis

P, Q = "order-fulfilment:o1", "order-fulfilment:o2"
SHARD = partition_of(P, SHARDS)
RUNNING = "order-fulfilment:running"


@dataclass(frozen=True, slots=True)
class Pair:
    store: MemoryStore | RedisStore
    audit: AuditStore
    url: str | None = None


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with private_redis() as url:
        yield url


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with private_redis(cluster=True) as url:
        yield url


@pytest.fixture(scope="module")
def process() -> Process:
    """An order under way, as the real engine makes it."""

    async def make() -> Process:
        world = AuditWorld()
        world.start("o1")
        await world.work()
        return world.process(P)

    return asyncio.run(make())


@pytest.fixture(params=["memory", "redis", "cluster"])
async def pair(request: pytest.FixtureRequest, process: Process) -> AsyncIterator[Pair]:
    if request.param == "memory":
        memory = MemoryStore()
        await keep(memory, process)
        yield Pair(memory, MemoryAuditStore(memory))
        return
    cluster = request.param == "cluster"
    url = request.getfixturevalue("cluster_url" if cluster else "redis_url")
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushall()
        await client.script_flush()
    store = RedisStore(url, cluster=cluster)
    await keep(store, process)
    yield Pair(store, RedisAuditStore(store), url)
    await store.close()


async def keep(store: MemoryStore | RedisStore, process: Process, expected: int | None = None) -> None:
    position = ShardPosition((expected or 0) + 1, "r", f"c{expected}", ENGINE_SEMANTICS)
    history = (b"entry",) if expected is None else ()
    write = process_write(None, process, encode_process(process), history)
    checkpoint = Checkpoint(SHARD, expected, position, (write,), (process.saga,), 1)
    assert await store.write([checkpoint]) == [WriteResult.WRITTEN]


async def names(audit: AuditStore, shards: frozenset[int] | None = None, page: int = 2) -> set[Name]:
    return {name async for found in audit.names(shards, page) for name in found}


async def test_everything_that_names_a_process_is_told(pair: Pair, process: Process) -> None:
    told = await names(pair.audit)
    assert told == {
        Name(SHARD, P, "state"),
        Name(SHARD, P, "history"),
        Name(SHARD, P, "index", RUNNING),
        *(Name(SHARD, P, "timer", timer) for timer in process.timers),
    }
    assert await names(pair.audit, frozenset((SHARD,))) == told
    assert await names(pair.audit, frozenset((SHARD + 1,))) == set()


async def test_a_sight_shows_what_is_set_of_what_was_asked_for(pair: Pair, process: Process) -> None:
    asked = Wanted(P, (*process.timers, "none"), (RUNNING, "order-fulfilment:completed"))
    found, nobody = await pair.audit.sights([asked, Wanted(Q, ("a",), (RUNNING,))])
    assert found.blob == encode_process(process)
    assert found.history == 1
    assert found.timers == process.timers
    assert found.indexes == {RUNNING}
    assert (nobody.blob, nobody.history, dict(nobody.timers), nobody.indexes) == (None, 0, {}, frozenset())


async def test_a_mend_is_done_while_the_state_is_the_same_and_else_not(pair: Pair, process: Process) -> None:
    mend = Mend(P, encode_process(process), (("late", 7),), ("deadline",), ("order-fulfilment:stuck",), (RUNNING,), 5)
    stale = Mend(P, b"another state", (("never", 1),))
    assert list(await pair.audit.mend([stale, mend])) == [False, True]
    asked = Wanted(P, ("late", "deadline", "never"), (RUNNING, "order-fulfilment:stuck"))
    (found,) = await pair.audit.sights([asked])
    assert found.timers == {"late": 7}
    assert found.indexes == {"order-fulfilment:stuck"}
    assert list(await pair.audit.mend([])) == []


async def test_a_shard_that_was_forgotten_is_empty_and_others_are_not_touched(pair: Pair, process: Process) -> None:
    other = Name(partition_of(Q, SHARDS), Q, "index", RUNNING)
    await pair.audit.mend([Mend(Q, b"", (), (), (RUNNING,), (), 1)])
    assert await pair.audit.forget(SHARD)
    assert await names(pair.audit) - {other} == set()
    assert (await pair.store.positions([SHARD]))[SHARD] is None


def auditor(pair: Pair) -> Auditor:
    return Auditor(pair.audit, Pace(1, lambda: 0.0, asyncio.sleep), lambda: 0, asyncio.sleep)


@pytest.mark.parametrize("pair", ["redis", "cluster"], indirect=True)
async def test_damage_planted_in_the_store_itself_is_found_and_mended(pair: Pair, process: Process) -> None:
    """In memory: tests/runtime/test_audit.py."""
    assert pair.url is not None
    assert (await auditor(pair).round()).findings == []
    timer = next(iter(process.timers))
    async with redis.asyncio.Redis.from_url(pair.url) as client:
        assert await client.zrem(f"cp:{{{SHARD}}}:timers", f"{P}|{timer}") == 1
        assert await client.zrem(f"cp:{{{SHARD}}}:index:{RUNNING}", P) == 1
    found = await auditor(pair).round()
    assert sorted(one.code for one in found.findings) == ["index-entry-lost", "timer-lost"]
    assert list(await pair.audit.mend(list(found.mends.values()))) == [True]
    assert (await auditor(pair).round()).findings == []
    async with redis.asyncio.Redis.from_url(pair.url) as client:
        assert await client.delete(f"cp:{{{SHARD}}}:process:{P}") == 1
    found = await auditor(pair).round()
    assert {one.code for one in found.findings} == {"state-gone"}
    assert found.stranded == {P}


async def test_a_shard_that_is_written_to_meanwhile_is_not_forgotten(redis_url: str, process: Process) -> None:
    store = RedisStore(redis_url)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushall()
    await keep(store, process)
    keys, turn = store.keys, iter(range(1, 1_000))

    async def busy(pattern: str, page: int) -> AsyncIterator[list[str]]:
        async for found in keys(pattern, page):
            yield found
        await keep(store, process, next(turn))

    store.keys = busy  # type: ignore[method-assign]
    assert not await RedisAuditStore(store).forget(SHARD)
    (found,) = await RedisAuditStore(store).sights([Wanted(P)])
    assert found.blob == encode_process(process)
    await store.close()
