"""One suite for every adapter of what the store knows of snapshots: memory, Redis, and Redis Cluster."""

from __future__ import annotations

import pytest

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
from orchestrator.runtime.store import DueTimer, IndexEntry
from tests.conformance.runtime_store_test import (  # noqa: F401 - fixtures
    SHARD,
    P,
    Store,
    checkpoint,
    cluster_url,
    position,
    redis_url,
    store,
    write,
)


def cover(process_id: str, blob: bytes | None, next_offset: int, **mark: int) -> Cover:
    return Cover(process_id, blob_sha(blob), Mark(next_offset, **mark))


async def test_what_a_checkpoint_writes_is_uncovered_from_its_first_input_on(store: Store) -> None:  # noqa: F811 - the fixture
    await store.write([checkpoint(None, position(4, "a"), write(first_offset=2), write("s:b", first_offset=1))])
    await store.write([checkpoint(4, position(9, "b"), write(first_offset=7))])

    assert (await store.uncovered(SHARD, 10, 10)).process_ids == ("s:b", P)
    assert (await store.uncovered(SHARD, 2, 10)).process_ids == ("s:b",)
    assert (await store.uncovered(SHARD, 10, 1)).process_ids == ("s:b",)
    assert await store.oldest_uncovered(SHARD) == 1
    assert await store.uncovered(SHARD, 0, 10) == Uncovered(9, ())
    assert await store.uncovered(SHARD + 1, 9, 10) == Uncovered(None, ())


async def test_a_snapshot_covers_the_state_that_it_has(store: Store) -> None:  # noqa: F811 - the fixture
    await store.write([checkpoint(None, position(4, "a"), write(blob=b"1"), write("s:b", blob=b"1"))])
    await store.write([checkpoint(4, position(9, "b"), write("s:b", blob=b"2", first_offset=5))])

    await store.cover(SHARD, [cover(P, b"1", 4, parts=1, entries=2, pieces=3, born_ms=4), cover("s:b", b"1", 4)])

    assert (await store.uncovered(SHARD, 10, 10)).process_ids == ("s:b",), "it has changed since"
    assert await store.oldest_uncovered(SHARD) == 4
    assert await store.marks(SHARD, [P, "s:b", "s:none"]) == [Mark(4, 1, 2, 3, 4), Mark(4), None]
    await store.cover(SHARD, [cover("s:b", b"2", 9)])
    assert await store.oldest_uncovered(SHARD) is None


async def test_a_snapshot_that_has_replaced_a_later_one_uncovers(store: Store) -> None:  # noqa: F811 - the fixture
    await store.write([checkpoint(None, position(9, "a"), write(blob=b"1"))])
    await store.cover(SHARD, [cover(P, b"1", 9)])
    await store.cover(SHARD, [cover(P, b"0", 5)])
    assert await store.oldest_uncovered(SHARD) == 5
    assert await store.marks(SHARD, [P]) == [Mark(9)]


async def test_a_shard_without_a_position_has_nothing_covered(store: Store) -> None:  # noqa: F811 - the fixture
    await store.cover(SHARD, [cover(P, None, 9)])
    assert await store.marks(SHARD, [P]) == [None]


async def test_what_is_no_more_leaves_nothing_but_its_mark(store: Store) -> None:  # noqa: F811 - the fixture
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


async def test_a_process_that_begins_anew_is_not_gone(store: Store) -> None:  # noqa: F811 - the fixture
    await store.write([checkpoint(None, position(4, "a"), write(blob=None, history=(), indexes=()))])
    await store.cover(SHARD, [cover(P, None, 4)])
    await store.write([checkpoint(4, position(6, "b"), write(blob=b"new", first_offset=5))])
    await store.cover(SHARD, [cover(P, b"new", 6)])
    assert await store.gone(SHARD, 100, 10) == []


async def test_history_is_forgotten_before_it_goes_on(store: Store) -> None:  # noqa: F811 - the fixture
    await store.write([checkpoint(None, position(1, "a"), write(history=(b"1", b"2")))])
    await store.write([checkpoint(1, position(2, "b"), write(history=(b"3",), forget_history=True))])
    assert await store.history(P, 0, 10) == [b"3"]


async def test_every_process_is_enrolled(store: Store) -> None:  # noqa: F811 - the fixture
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


async def test_the_state_of_a_cut_is_kept(store: Store) -> None:  # noqa: F811 - the fixture
    assert await store.cut_states([SHARD]) == {SHARD: CutState()}
    for state in (CutState(7, Sample(9, "r9", 1_000), True), CutState(9, None, True), CutState(9, None, False)):
        await store.set_cut_state(SHARD, state)
        assert await store.cut_states([SHARD]) == {SHARD: state}
    await store.set_cut_state(SHARD, CutState())
    assert await store.cut_states([SHARD]) == {SHARD: CutState()}


def restored(process_id: str = P, *, ahead: bool = False, entries: int = 2, **changes: object) -> Restored:
    given = write(process_id, history=(), timers_set=(("t", 5),), **changes)
    return Restored(process_id, "order-fulfilment", given, Mark(8, 1, entries), ahead)


async def test_a_shard_is_restored_and_whole_only_at_the_end(store: Store) -> None:  # noqa: F811 - the fixture
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


async def test_who_begins_a_restore_later_takes_it_over_from_nothing(store: Store) -> None:  # noqa: F811 - the fixture
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


async def test_a_restore_with_too_little_history_fails(store: Store) -> None:  # noqa: F811 - the fixture
    await store.begin_restore(SHARD, "token")
    await store.restore_history(SHARD, "token", P, 0, [b"1"])
    with pytest.raises(ShortHistory):
        await store.restore_history(SHARD, "token", P, 2, [b"3"])
    with pytest.raises(ShortHistory):
        await store.restore(SHARD, "token", [restored()])


async def test_a_position_is_adopted_from_where_it_was_seen(store: Store) -> None:  # noqa: F811 - the fixture
    assert not await store.adopt(SHARD, 4, position(6))
    assert await store.adopt(SHARD, None, position(6))
    assert not await store.adopt(SHARD, None, position(7))
    assert await store.adopt(SHARD, 6, position(2, "c2"))
    assert await store.positions([SHARD]) == {SHARD: position(2, "c2")}
    assert await store.adopt(SHARD, 2, None)
    assert await store.positions([SHARD]) == {SHARD: None}


async def test_another_position_ends_what_was_ahead_and_the_same_one_does_not(store: Store) -> None:  # noqa: F811 - the fixture
    await store.begin_restore(SHARD, "token")
    await store.restore(SHARD, "token", [restored(ahead=True, entries=0)])
    await store.finish_restore(SHARD, "token", position(6))
    assert await store.adopt(SHARD, 6, position(6, "c2"))
    assert await store.ahead(SHARD, 6) == {P: 8}
    assert await store.adopt(SHARD, 6, position(5, "c3"))
    assert await store.ahead(SHARD, 5) == {}


async def test_orders_are_kept_and_forgotten(store: Store) -> None:  # noqa: F811 - the fixture
    await store.set_orders({3: b"a", 4: b"b"})
    assert await store.orders([3, 5]) == {3: b"a"}
    await store.set_orders({3: None})
    assert await store.orders([3, 4]) == {4: b"b"}
