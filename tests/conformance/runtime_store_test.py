"""One suite for every adapter of the runtime's store: memory, Redis, and Redis Cluster (one node, all slots)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.snapshot_store import (
    Cover,
    CutState,
    Mark,
    Restored,
    Sample,
    ShortHistory,
    StaleRestore,
    Uncovered,
    blob_sha,
)
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


# Snapshots.


def cover(process_id: str, blob: bytes | None, next_offset: int, **mark: int) -> Cover:
    return Cover(process_id, blob_sha(blob), Mark(next_offset, **mark))


async def test_what_a_checkpoint_writes_is_uncovered_from_its_first_input_on(store: Store) -> None:
    await store.write([checkpoint(None, position(4, "a"), write(first_offset=2), write("s:b", first_offset=1))])
    await store.write([checkpoint(4, position(9, "b"), write(first_offset=7))])

    assert (await store.uncovered(SHARD, 10, 10)).process_ids == ("s:b", P)
    assert (await store.uncovered(SHARD, 2, 10)).process_ids == ("s:b",)
    assert (await store.uncovered(SHARD, 10, 1)).process_ids == ("s:b",)
    assert await store.oldest_uncovered(SHARD) == 1
    assert await store.uncovered(SHARD, 0, 10) == Uncovered(9, ())
    assert await store.uncovered(SHARD + 1, 9, 10) == Uncovered(None, ())


async def test_a_snapshot_covers_the_state_that_it_has(store: Store) -> None:
    await store.write([checkpoint(None, position(4, "a"), write(blob=b"1"), write("s:b", blob=b"1"))])
    await store.write([checkpoint(4, position(9, "b"), write("s:b", blob=b"2", first_offset=5))])

    await store.cover(SHARD, [cover(P, b"1", 4, parts=1, entries=2, pieces=3, born_ms=4), cover("s:b", b"1", 4)])

    assert (await store.uncovered(SHARD, 10, 10)).process_ids == ("s:b",), "it has changed since"
    assert await store.oldest_uncovered(SHARD) == 4
    assert await store.marks(SHARD, [P, "s:b", "s:none"]) == [Mark(4, 1, 2, 3, 4), Mark(4), None]
    await store.cover(SHARD, [cover("s:b", b"2", 9)])
    assert await store.oldest_uncovered(SHARD) is None


async def test_a_snapshot_that_has_replaced_a_later_one_uncovers(store: Store) -> None:
    await store.write([checkpoint(None, position(9, "a"), write(blob=b"1"))])
    await store.cover(SHARD, [cover(P, b"1", 9)])
    await store.cover(SHARD, [cover(P, b"0", 5)])
    assert await store.oldest_uncovered(SHARD) == 5
    assert await store.marks(SHARD, [P]) == [Mark(9)]


async def test_a_shard_without_a_position_has_nothing_covered(store: Store) -> None:
    await store.cover(SHARD, [cover(P, None, 9)])
    assert await store.marks(SHARD, [P]) == [None]


async def test_what_is_no_more_leaves_nothing_but_its_mark(store: Store) -> None:
    await store.write([checkpoint(None, position(4, "a"), write(timers_set=(("t", 5),)))])
    gone = write(
        blob=None, history=(), timers_unset=("t",), indexes=(), indexes_left=("order-fulfilment:running",),
        first_offset=4, forget_history=True,
    )  # fmt: skip
    await store.write([checkpoint(4, position(5, "b"), gone)])

    assert await store.blobs([P]) == [None]
    assert await store.history(P, 0, 10) == []
    assert await store.due_timers([SHARD], 10, 10) == []
    assert await store.counts(["order-fulfilment:running"]) == [0]
    await store.cover(SHARD, [cover(P, None, 5)])
    assert await store.oldest_uncovered(SHARD) is None
    assert await store.gone(SHARD, 5, 10) == []
    assert await store.gone(SHARD, 6, 10) == [P]
    await store.forget_gone(SHARD, [P])
    assert (await store.gone(SHARD, 6, 10), await store.marks(SHARD, [P])) == ([], [None])


async def test_a_process_that_begins_anew_is_not_gone(store: Store) -> None:
    await store.write([checkpoint(None, position(4, "a"), write(blob=None, history=(), indexes=()))])
    await store.cover(SHARD, [cover(P, None, 4)])
    await store.write([checkpoint(4, position(6, "b"), write(blob=b"new", first_offset=5))])
    await store.cover(SHARD, [cover(P, b"new", 6)])
    assert await store.gone(SHARD, 100, 10) == []


async def test_history_is_forgotten_before_it_goes_on(store: Store) -> None:
    await store.write([checkpoint(None, position(1, "a"), write(history=(b"1", b"2")))])
    await store.write([checkpoint(1, position(2, "b"), write(history=(b"3",), forget_history=True))])
    assert await store.history(P, 0, 10) == [b"3"]


async def test_every_process_is_enrolled(store: Store) -> None:
    names = [name for n in range(300_000) if partition_of(name := f"s:{n}", SHARDS) == SHARD][:2_500]
    await store.write([checkpoint(None, position(9), *(write(name, first_offset=8) for name in names))])
    await store.cover(SHARD, [cover(name, b"\x00blob\xff", 9, parts=2) for name in names])
    assert await store.oldest_uncovered(SHARD) is None

    cursor = await store.enroll(SHARD, 0)
    while cursor:
        cursor = await store.enroll(SHARD, cursor)

    assert set((await store.uncovered(SHARD, 1, 10_000)).process_ids) == set(names)
    assert await store.marks(SHARD, names[:1]) == [Mark(0, parts=2)]
    assert await store.oldest_uncovered(SHARD + 1) is None


async def test_the_state_of_a_cut_is_kept(store: Store) -> None:
    assert await store.cut_states([SHARD]) == {SHARD: CutState()}
    for state in (CutState(7, Sample(9, "r9", 1_000), True), CutState(9, None, True), CutState(9, None, False)):
        await store.set_cut_state(SHARD, state)
        assert await store.cut_states([SHARD]) == {SHARD: state}
    await store.set_cut_state(SHARD, CutState())
    assert await store.cut_states([SHARD]) == {SHARD: CutState()}


def restored(process_id: str = P, *, ahead: bool = False, entries: int = 2, **changes: object) -> Restored:
    given = write(process_id, history=(), timers_set=(("t", 5),), **changes)
    return Restored(process_id, "order-fulfilment", given, Mark(8, 1, entries), ahead)


async def test_a_shard_is_restored_and_whole_only_at_the_end(store: Store) -> None:
    await store.begin_restore(SHARD, "token")
    await store.restore_history(SHARD, "token", P, 0, [b"1"])
    await store.restore_history(SHARD, "token", P, 1, [b"2", b"surplus"])
    await store.restore(SHARD, "token", [restored(ahead=True), restored("s:gone", blob=None, entries=0)])
    assert await store.positions([SHARD]) == {SHARD: None}
    await store.finish_restore(SHARD, "token", position(6))

    assert await store.positions([SHARD]) == {SHARD: position(6)}
    assert await store.blobs([P]) == [b"\x00blob\xff"]
    assert await store.history(P, 0, 10) == [b"1", b"2"]
    assert await store.due_timers([SHARD], 10, 10) == [DueTimer(SHARD, P, "t", 5)]
    assert await store.entries("order-fulfilment:running", None, 10, 0) == [IndexEntry(P, 1_000)]
    assert await store.sagas() == {"order-fulfilment"}
    assert await store.marks(SHARD, [P]) == [Mark(8, 1, 2)]
    assert await store.gone(SHARD, 9, 10) == ["s:gone"]
    assert (await store.ahead(SHARD, 6), await store.ahead(SHARD, 8)) == ({P: 8}, {})
    assert await store.cut_states([SHARD]) == {SHARD: CutState(6, None, True)}
    with pytest.raises(StaleRestore):
        await store.begin_restore(SHARD, "late")


async def test_who_begins_a_restore_later_takes_it_over_from_nothing(store: Store) -> None:
    await store.begin_restore(SHARD, "first")
    await store.restore_history(SHARD, "first", P, 0, [b"1", b"2"])
    await store.restore(SHARD, "first", [restored()])
    await store.begin_restore(SHARD, "second")

    for late in (
        store.restore(SHARD, "first", [restored()]),
        store.restore_history(SHARD, "first", P, 0, [b"1"]),
        store.finish_restore(SHARD, "first", position(6)),
    ):
        with pytest.raises(StaleRestore):
            await late
    assert await store.blobs([P]) == [None]
    assert await store.due_timers([SHARD], 10, 10) == []
    assert await store.counts(["order-fulfilment:running"]) == [0]
    await store.finish_restore(SHARD, "second", position(6))
    assert await store.positions([SHARD]) == {SHARD: position(6)}


async def test_a_restore_with_too_little_history_fails(store: Store) -> None:
    await store.begin_restore(SHARD, "token")
    await store.restore_history(SHARD, "token", P, 0, [b"1"])
    with pytest.raises(ShortHistory):
        await store.restore_history(SHARD, "token", P, 2, [b"3"])
    with pytest.raises(ShortHistory):
        await store.restore(SHARD, "token", [restored()])


async def test_a_position_is_adopted_from_where_it_was_seen(store: Store) -> None:
    assert not await store.adopt(SHARD, 4, position(6))
    assert await store.adopt(SHARD, None, position(6))
    assert not await store.adopt(SHARD, None, position(7))
    assert await store.adopt(SHARD, 6, position(2, "c2"))
    assert await store.positions([SHARD]) == {SHARD: position(2, "c2")}
    assert await store.adopt(SHARD, 2, None)
    assert await store.positions([SHARD]) == {SHARD: None}


async def test_another_position_ends_what_was_ahead_and_the_same_one_does_not(store: Store) -> None:
    await store.begin_restore(SHARD, "token")
    await store.restore(SHARD, "token", [restored(ahead=True, entries=0)])
    await store.finish_restore(SHARD, "token", position(6))
    assert await store.adopt(SHARD, 6, position(6, "c2"))
    assert await store.ahead(SHARD, 6) == {P: 8}
    assert await store.adopt(SHARD, 6, position(5, "c3"))
    assert await store.ahead(SHARD, 5) == {}


async def test_orders_are_kept_and_forgotten(store: Store) -> None:
    await store.set_orders({3: b"a", 4: b"b"})
    assert await store.orders([3, 5]) == {3: b"a"}
    await store.set_orders({3: None})
    assert await store.orders([3, 4]) == {4: b"b"}
