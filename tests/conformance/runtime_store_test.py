"""One suite for every adapter of the runtime's store: memory, Redis, and Redis Cluster (one node, all slots)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.store import (
    Checkpoint,
    DueTimer,
    IndexEntry,
    Loaded,
    ProcessWrite,
    ShardPosition,
    StoreUnavailable,
    WriteResult,
)
from orchestrator.runtime.store_memory import MemoryStore
from orchestrator.runtime.store_redis import RedisStore, StoreRefused, unfit
from tests.runtime.real import private_redis

P = "order-fulfilment:o1"
SHARD = partition_of(P, SHARDS)
Store = MemoryStore | RedisStore


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with private_redis() as url:
        yield url


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with private_redis(cluster=True) as url:
        yield url


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    cluster = request.param == "cluster"
    url = request.getfixturevalue("cluster_url" if cluster else "redis_url")
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushall()
        await client.script_flush()
    found = RedisStore(url, cluster=cluster)
    yield found
    await found.close()


def position(next_offset: int, checkpoint: str = "c1") -> ShardPosition:
    return ShardPosition(next_offset, f"r{next_offset}", checkpoint, 1)


def write(process_id: str = P, **changes: object) -> ProcessWrite:
    given: dict[str, object] = {
        "blob": b"\x00blob\xff",
        "history": (b"h1",),
        "timers_set": (),
        "timers_unset": (),
        "indexes": ("order-fulfilment:running",),
        "indexes_left": (),
        "updated_at_ms": 1_000,
    }
    return ProcessWrite(process_id, **(given | changes))  # type: ignore[arg-type]


def checkpoint(
    expected: int | None, to: ShardPosition, *writes: ProcessWrite, shard: int = SHARD, sagas: tuple[str, ...] = ()
) -> Checkpoint:
    return Checkpoint(shard, expected, to, writes, sagas, 1)


async def test_nothing_is_stored_at_first(store: Store) -> None:
    assert await store.positions([SHARD, 3]) == {SHARD: None, 3: None}
    assert await store.load({SHARD: [P]}) == {SHARD: Loaded(None, (None,))}
    assert await store.sagas() == frozenset()
    assert await store.refusals() == {}
    assert await store.due_timers([SHARD], 10**15, 10) == []


async def test_a_checkpoint_is_read_back_with_its_position(store: Store) -> None:
    to = position(7)
    assert await store.write([checkpoint(None, to, write(), sagas=("order-fulfilment",))]) == [WriteResult.WRITTEN]

    assert await store.positions([SHARD]) == {SHARD: to}
    assert await store.load({SHARD: [P, "order-fulfilment:none"]}) == {SHARD: Loaded(7, (b"\x00blob\xff", None))}
    assert await store.sagas() == {"order-fulfilment"}
    assert await store.blobs([P]) == [b"\x00blob\xff"]


@pytest.mark.parametrize("rests", [False, True])
async def test_long_values_are_read_back_as_they_were(store: Store, rests: bool) -> None:
    """Whatever an adapter does to store them in less room."""
    values = [b"\x8a\xa6offset" + b'{"order_id":"o1"}' * 500, b"\x01" * 3_000, bytes(range(256)) * 20]
    for number, value in enumerate(values):
        change = write(blob=value, history=(value, value[:300], value[:10]), rests=rests)
        await store.write([checkpoint(number or None, position(number + 1, f"c{number}"), change)])
        assert await store.load({SHARD: [P]}) == {SHARD: Loaded(number + 1, (value,))}
        assert await store.blobs([P]) == [value]
        assert await store.history(P, 3 * number, 9) == [value, value[:300], value[:10]]


async def test_history_grows_by_each_checkpoint(store: Store) -> None:
    await store.write([checkpoint(None, position(1, "a"), write(history=(b"1", b"2")))])
    await store.write([checkpoint(1, position(2, "b"), write(history=(b"3",)))])

    assert await store.history(P, 0, 10) == [b"1", b"2", b"3"]
    assert await store.history(P, 1, 1) == [b"2"]


async def test_a_repeated_checkpoint_is_recognised_and_changes_nothing(store: Store) -> None:
    once = checkpoint(None, position(1), write())
    assert await store.write([once]) == [WriteResult.WRITTEN]
    assert await store.write([once]) == [WriteResult.REPEATED]
    assert await store.history(P, 0, 10) == [b"h1"]


@pytest.mark.parametrize("expected", [None, 0, 4, 6])
async def test_a_writer_that_expects_another_position_changes_nothing(store: Store, expected: int | None) -> None:
    await store.write([checkpoint(None, position(5, "a"), write())])

    late = checkpoint(expected, position(9, "b"), write(blob=b"late", timers_set=(("t", 1),)))
    assert await store.write([late]) == [WriteResult.MISMATCH]

    assert await store.positions([SHARD]) == {SHARD: position(5, "a")}
    assert await store.blobs([P]) == [b"\x00blob\xff"]
    assert await store.due_timers([SHARD], 10**15, 10) == []


async def test_a_writer_that_expects_a_position_finds_none(store: Store) -> None:
    assert await store.write([checkpoint(5, position(6), write())]) == [WriteResult.MISMATCH]
    assert await store.blobs([P]) == [None]


async def test_each_shard_of_one_call_is_judged_by_itself(store: Store) -> None:
    ids = {partition_of(f"s:{n}", SHARDS): f"s:{n}" for n in range(2_000)}
    assert len(ids) == SHARDS
    await store.write([checkpoint(None, position(1, "x"), write(ids[5]), shard=5)])

    results = await store.write(
        [checkpoint(None, position(1, f"c{shard}"), write(name), shard=shard) for shard, name in sorted(ids.items())]
    )

    assert results.count(WriteResult.WRITTEN) == SHARDS - 1
    assert results[5] is WriteResult.MISMATCH
    assert all(blob is not None for blob in await store.blobs(list(ids.values())))
    loaded = await store.load({shard: [name] for shard, name in ids.items()})
    assert {shard: found.next for shard, found in loaded.items()} == dict.fromkeys(ids, 1)


async def test_timers_come_when_due_the_earliest_first(store: Store) -> None:
    timers = (("charge/silence", 300), ("deadline", 100), ("ship/undo/1/retry", 200))
    await store.write([checkpoint(None, position(1, "a"), write(timers_set=timers))])

    assert await store.due_timers([SHARD, 0], 250, 10) == [
        DueTimer(SHARD, P, "deadline", 100),
        DueTimer(SHARD, P, "ship/undo/1/retry", 200),
    ]
    assert await store.due_timers([SHARD], 100, 10) == [DueTimer(SHARD, P, "deadline", 100)]
    assert await store.due_timers([SHARD], 10**15, 1) == [DueTimer(SHARD, P, "deadline", 100)]

    moved = write(timers_set=(("charge/silence", 900),), timers_unset=("deadline",))
    await store.write([checkpoint(1, position(2, "b"), moved)])
    assert await store.due_timers([SHARD], 1_000, 10) == [
        DueTimer(SHARD, P, "ship/undo/1/retry", 200),
        DueTimer(SHARD, P, "charge/silence", 900),
    ]


async def test_indexes_are_left_and_entered(store: Store) -> None:
    running, stuck = "order-fulfilment:running", "order-fulfilment:stuck"
    await store.write([checkpoint(None, position(1, "a"), write(updated_at_ms=10))])
    assert await store.entries(running, None, 10, 0) == [IndexEntry(P, 10)]

    moved = write(indexes=(stuck, "order-fulfilment:step:charge"), indexes_left=(running,), updated_at_ms=20)
    await store.write([checkpoint(1, position(2, "b"), moved)])

    assert await store.entries(running, None, 10, 0) == []
    assert await store.entries(stuck, None, 10, 0) == [IndexEntry(P, 20)]
    assert await store.counts([running, stuck, "order-fulfilment:step:charge", "none"]) == [0, 1, 1, 0]


async def test_index_entries_are_paged_by_time_and_count(store: Store) -> None:
    names = [name for n in range(4_000) if partition_of(name := f"s:{n}", SHARDS) == SHARD][:5]
    index = ("s:running",)
    writes = [write(name, indexes=index, updated_at_ms=at) for at, name in enumerate(names)]
    await store.write([checkpoint(None, position(1), *writes)])

    everything = [IndexEntry(name, at) for at, name in enumerate(names)][::-1]
    assert await store.entries("s:running", None, 10, 0) == everything
    assert await store.entries("s:running", 2, 10, 0) == everything[2:]
    assert await store.entries("s:running", None, 2, 1) == everything[1:3]


async def test_a_large_checkpoint_and_a_large_load(store: Store) -> None:
    names = [name for n in range(200_000) if partition_of(name := f"s:{n}", SHARDS) == SHARD][:2_500]
    writes = [write(name, blob=name.encode()) for name in names]
    assert await store.write([checkpoint(None, position(1), *writes)]) == [WriteResult.WRITTEN]

    loaded = await store.load({SHARD: names})
    assert loaded[SHARD].blobs == tuple(name.encode() for name in names)


async def test_refusals_are_kept_and_forgotten(store: Store) -> None:
    await store.set_refusals({3: b"why", 4: b"also"})
    assert await store.refusals() == {3: b"why", 4: b"also"}
    await store.set_refusals({3: None, 4: b"still", 5: None})
    assert await store.refusals() == {4: b"still"}


async def test_the_script_is_taught_again_to_a_redis_that_forgot_it(redis_url: str) -> None:
    store = RedisStore(redis_url)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushall()
        await store.write([checkpoint(None, position(1, "a"), write())])
        await client.script_flush()
    assert await store.write([checkpoint(1, position(2, "b"), write())]) == [WriteResult.WRITTEN]
    await store.close()


async def test_a_key_of_another_type_is_found_before_anything_is_changed(redis_url: str) -> None:
    store = RedisStore(redis_url)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushall()
        await client.set(f"cp:{{{SHARD}}}:history:{P}", "not a list")
        with pytest.raises(StoreUnavailable, match="CORRUPT"):
            await store.write([checkpoint(None, position(1), write())])
        assert await client.keys("cp:*") == [f"cp:{{{SHARD}}}:history:{P}".encode()]
    await store.close()


async def test_a_full_redis_refuses_the_whole_checkpoint() -> None:
    with private_redis() as url:
        store = RedisStore(url)
        await store.write([checkpoint(None, position(1, "a"), write())])
        async with redis.asyncio.Redis.from_url(url) as client:
            await client.config_set("maxmemory", "1mb")
            with pytest.raises(StoreUnavailable, match=r"OOM|maxmemory"):
                await store.write([checkpoint(1, position(2, "b"), write(blob=b"x" * 2_000_000, timers_unset=("t",)))])
                await store.write([checkpoint(2, position(3, "c"), write())])
            await client.config_set("maxmemory", "0")
        (stored,) = (await store.positions([SHARD])).values()
        assert stored is not None
        assert await store.history(P, 0, 10) == [b"h1"] * stored.next
        await store.close()


async def test_an_absent_redis_is_unavailable() -> None:
    store = RedisStore("redis://127.0.0.1:1")
    with pytest.raises(StoreUnavailable):
        await store.positions([1])
    with pytest.raises(StoreUnavailable):
        await store.check()
    await store.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--appendonly", "no"), "append-only"),
        (("--maxmemory-policy", "allkeys-lru"), "maxmemory-policy allkeys-lru"),
    ],
)
async def test_a_redis_that_may_lose_state_is_refused(options: tuple[str, ...], sentence: str) -> None:
    with private_redis(*options) as url:
        store = RedisStore(url)
        with pytest.raises(StoreRefused, match=sentence):
            await store.check()
        await store.close()


async def test_a_sound_redis_passes(store: Store) -> None:
    if isinstance(store, RedisStore):
        await store.check()


def test_an_old_redis_is_refused() -> None:
    good = {"redis_version": "6.2.14", "maxmemory_policy": "noeviction", "aof_enabled": 1}
    assert unfit(good) is None
    assert "too old" in (unfit(good | {"redis_version": "6.0.16"}) or "")
