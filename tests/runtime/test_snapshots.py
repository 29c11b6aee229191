"""Snapshots and cuts: what is taken when, and that a shard is put back from them as it was."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from contracts.ids import partition_of
from contracts.topics import INBOX, SHARDS, SNAPSHOTS
from orchestrator.engine.decision import Decision
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Process
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log import Place
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.snapshot_store import Cover, Mark, StaleRestore
from orchestrator.runtime.snapshots import RECORD_BYTES_MAX, decode_cut, decode_head
from orchestrator.runtime.store_memory import MemoryStore, _ShardState
from tests.runtime.fake_engine import fake_decide, fake_input, fake_rules, trace_of
from tests.runtime.world_snapshots import SAMPLE_AGE_S, SnapshotEngine, SnapshotWorld

P = "fake:a"
SHARD = partition_of(P, SHARDS)
NEIGHBOURS = [name for n in range(2_000) if partition_of(name := f"fake:n{n}", SHARDS) == SHARD][:7]


def start(world: SnapshotWorld, *names: str) -> None:
    world.put(*(fake_input(name, "start", "fake.start.v1") for name in names))


def steps(world: SnapshotWorld, name: str, *ids: str) -> None:
    world.put(*(fake_input(name, one) for one in ids))


def contents(store: MemoryStore, shard: int = SHARD) -> tuple[object, ...]:
    held: _ShardState = store._shard(shard)
    indexes = {name: members for name, members in held.indexes.items() if members}
    history = {name: entries for name, entries in held.history.items() if entries}
    assert held.position is not None
    return held.blobs, history, held.timers, indexes, held.sagas, held.position.next


async def begun() -> tuple[SnapshotWorld, SnapshotEngine]:
    world = SnapshotWorld()
    engine = await world.engine()
    start(world, P, *NEIGHBOURS)
    steps(world, P, "s1", "s2")
    await engine.work()
    return world, engine


def large_rules() -> Rules:
    """One input makes a state and a history entry that no single record can hold."""

    def decide(process: Process | None, item: Input) -> Decision:
        decision = fake_decide(process, item)
        if item.envelope.id != "large":
            return decision
        assert decision.process is not None
        grown = msgspec.structs.replace(decision.process, seen=(b"x" * (2 * RECORD_BYTES_MAX + 7),))
        return msgspec.structs.replace(decision, process=grown, history=bytes(range(256)) * 5_000)

    return replace(fake_rules(), decide=decide)


async def lose_redis(world: SnapshotWorld, engine: SnapshotEngine, rules: Rules | None = None) -> SnapshotEngine:
    await engine.die()
    world.store.wipe()
    found = await world.engine(rules)
    await found.work()
    return found


async def test_nothing_is_snapshotted_before_its_time() -> None:
    world, engine = await begun()
    await engine.look()
    world.now_ms += int(SAMPLE_AGE_S * 1000) - 1
    await engine.look()
    assert world.snapshots(SHARD) == {}


async def test_what_is_older_than_ten_minutes_is_snapshotted_and_the_cut_moves() -> None:
    world, engine = await begun()
    await engine.look()
    world.now_ms += int(SAMPLE_AGE_S * 1000)
    steps(world, P, "late")
    await engine.work()
    await engine.look()

    found = world.snapshots(SHARD)
    cut = decode_cut(found["#cut"] or b"")
    assert cut.offset == len(NEIGHBOURS) + 3
    assert {name for name in found if "#" not in name} == {P, *NEIGHBOURS}
    assert Mark.decode(decode_head(found[P] or b"").mark).next == cut.offset + 1
    assert engine.count("counterpoint_snapshots_total") == len(NEIGHBOURS) + 1


async def test_a_shard_where_nothing_happens_is_left_alone() -> None:
    world, engine = await begun()
    await engine.cut()
    before = len(world.log.records(SNAPSHOTS))
    for _ in range(3):
        world.now_ms += int(SAMPLE_AGE_S * 1000)
        await engine.look()
    assert len(world.log.records(SNAPSHOTS)) == before


@pytest.mark.parametrize("compacted", [False, True])
async def test_redis_and_the_old_inbox_are_lost_and_nothing_is_done_again(compacted: bool) -> None:
    world, engine = await begun()
    await engine.cut()
    steps(world, P, "s3")
    steps(world, NEIGHBOURS[0], "s1")
    await engine.work()
    before, sent = contents(world.store), world.effect_ids()
    cut = decode_cut(world.snapshots(SHARD)["#cut"] or b"")
    world.log.trim(Place(INBOX, SHARD), cut.offset)
    if compacted:
        world.compact()

    engine = await lose_redis(world, engine)

    assert contents(world.store) == before
    again = world.effect_ids()[len(sent) :]
    assert sorted(again) == sorted([f"{P}/s3", f"{NEIGHBOURS[0]}/s1"]), "what is awaited of the replay, once"
    assert engine.readiness.problem() is None


async def test_inputs_below_a_process_own_snapshot_are_skipped() -> None:
    """Processes are snapshotted after the sample was taken: they are ahead of the cut."""
    world, engine = await begun()
    await engine.look()
    steps(world, P, "s3", "s4")
    await engine.work()
    world.now_ms += int(SAMPLE_AGE_S * 1000)
    await engine.look()
    steps(world, P, "s5")
    await engine.work()
    before = contents(world.store)

    engine = await lose_redis(world, engine)

    assert contents(world.store) == before
    assert engine.count("counterpoint_inputs_skipped_total") == 2


async def test_a_replay_that_is_interrupted_still_knows_what_is_ahead() -> None:
    world, engine = await begun()
    await engine.look()
    steps(world, P, "s3")
    start(world, "fake:" + NEIGHBOURS[0][5:] + "x")
    steps(world, P, "s4")
    await engine.work()
    world.now_ms += int(SAMPLE_AGE_S * 1000)
    await engine.look()
    before = contents(world.store)
    await engine.die()
    world.store.wipe()
    first = await world.engine()
    await first.claimed()
    await first.die()
    assert world.store._shard(SHARD).ahead[P] > (world.store._shard(SHARD).position or pytest.fail()).next

    second = await world.engine()
    await second.work()

    assert contents(world.store) == before


async def test_a_restore_that_dies_is_begun_anew() -> None:
    world, engine = await begun()
    await engine.cut()
    before = contents(world.store)
    await engine.die()
    world.store.wipe()
    dying = await world.engine(page=2)
    survived = world.store.restore
    calls = 0

    async def restore(*given: object) -> None:
        nonlocal calls
        calls += 1
        await survived(*given)  # type: ignore[arg-type]
        raise ConnectionAbortedError

    world.store.restore = restore  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectionAbortedError):
        for _ in range(9):
            await dying.loop.claim()
    world.store.restore = survived  # type: ignore[method-assign]
    assert calls and world.store._shard(SHARD).blobs and world.store._shard(SHARD).position is None
    await dying.die()

    engine = await world.engine()
    await engine.work()
    assert contents(world.store) == before


async def test_only_the_last_to_begin_a_restore_may_write() -> None:
    store = MemoryStore()
    await store.begin_restore(3, "first")
    await store.begin_restore(3, "second")
    with pytest.raises(StaleRestore):
        await store.restore_history(3, "first", P, 0, [b"1"])


async def test_without_a_cut_the_whole_inbox_is_folded() -> None:
    world, engine = await begun()
    before = contents(world.store)
    await lose_redis(world, engine)
    assert contents(world.store) == before


async def test_without_a_cut_a_trimmed_inbox_is_refused() -> None:
    world, engine = await begun()
    world.log.trim(Place(INBOX, SHARD), 1)
    engine = await lose_redis(world, engine)
    assert engine.count("counterpoint_shard_refused", shard=str(SHARD), code="history-gone") == 1


async def test_a_cut_that_the_inbox_has_left_behind_is_refused() -> None:
    world, engine = await begun()
    await engine.cut()
    steps(world, P, "s3", "s4")
    await engine.work()
    world.log.trim(Place(INBOX, SHARD), len(NEIGHBOURS) + 4)
    engine = await lose_redis(world, engine)
    assert engine.count("counterpoint_shard_refused", shard=str(SHARD), code="behind-log-start") == 1
    assert "counterpoint recover" in (engine.readiness.problem() or "")


async def test_redis_goes_back_in_time_under_a_cut() -> None:
    world, engine = await begun()
    image = world.store.image()
    await engine.cut()
    steps(world, P, "s3")
    await engine.work()
    await engine.cut()
    before = contents(world.store)
    await engine.die()
    world.store.rewind(image)

    engine = await world.engine()
    await engine.work()
    assert contents(world.store) == before
    await engine.cut()
    world.compact()
    await lose_redis(world, engine)
    assert contents(world.store) == before


async def test_long_histories_and_large_states_go_over_several_records() -> None:
    world = SnapshotWorld()
    engine = await world.engine(rules := large_rules())
    start(world, P)
    steps(world, P, "large", "s2")
    steps(world, P, *(f"n{number}" for number in range(1_200)))
    await engine.work()
    await engine.cut()
    steps(world, P, "more")
    await engine.work()
    await engine.cut()
    assert max(len(record.value or b"") for record in world.log.records(SNAPSHOTS)) < RECORD_BYTES_MAX + 100_000
    before = contents(world.store)
    world.compact()
    world.log.trim(Place(INBOX, SHARD), 1_204)

    await lose_redis(world, engine, rules)

    assert contents(world.store) == before
    (blob,) = await world.store.blobs([P])
    assert len(blob or b"") > 2 * RECORD_BYTES_MAX and (trace_of(blob) or "").endswith(":more")
    assert len([name for name, value in world.snapshots(SHARD).items() if "#state" in name and value]) == 3
    assert len(await world.store.history(P, 0, 5_000)) == 1_204


async def test_states_of_before_there_were_snapshots_are_found() -> None:
    world, engine = await begun()
    held = world.store._shard(SHARD)
    held.uncovered.clear()
    await engine.cut()
    assert {name for name in world.snapshots(SHARD) if "#" not in name} == {P, *NEIGHBOURS}


async def test_a_newer_engine_takes_a_full_cut_first() -> None:
    world, engine = await begun()
    await engine.loop.flush()
    await engine.die()

    engine = await world.engine(fake_rules(semantics=2))
    steps(world, P, "s3")
    await engine.work()

    assert engine.readiness.problem() is None
    cut = decode_cut(world.snapshots(SHARD)["#cut"] or b"")
    assert (cut.offset, cut.semantics) == (len(NEIGHBOURS) + 3, 2)
    assert {name for name in world.snapshots(SHARD) if "#" not in name} == {P, *NEIGHBOURS}
    (blob,) = await world.store.blobs([P])
    assert (trace_of(blob) or "").endswith(":s3")
    older = await world.engine(fake_rules(semantics=1))
    await engine.die()
    await older.work()
    assert older.count("counterpoint_shard_refused", shard=str(SHARD), code="newer-engine") == 1


async def test_a_newer_engine_does_not_decide_again_what_an_older_one_has_published() -> None:
    world, engine = await begun()
    await engine.die()
    world.log._groups[ENGINE_GROUP].offsets[world.place(SHARD)] = len(NEIGHBOURS) + 3
    world.store._shard(SHARD).position = (world.store._shard(SHARD).position or pytest.fail()).__class__(
        2, "", "older", 1
    )
    engine = await world.engine(fake_rules(semantics=2))
    await engine.work()
    assert engine.count("counterpoint_shard_refused", shard=str(SHARD), code="older-engine") == 1


async def test_an_owner_of_before_that_replaces_a_later_snapshot_is_noticed() -> None:
    world, engine = await begun()
    await engine.cut()
    await engine.snapshotter._store.cover(SHARD, [])
    stale = world.store._shard(SHARD).marks[P]
    await world.store.cover(SHARD, [Cover(P, "of before", Mark(stale.next - 1))])
    assert world.store._shard(SHARD).uncovered == {P: stale.next - 1}


async def test_a_snapshot_of_a_process_that_is_ahead_says_where_it_is() -> None:
    world, engine = await begun()
    await engine.look()
    steps(world, P, "s3", "s4")
    await engine.work()
    world.snapshot_ms += int(SAMPLE_AGE_S * 1000)
    await engine.look()
    before = contents(world.store)
    await engine.die()
    world.store.wipe()
    restored = await world.engine()
    await restored.claimed()
    position = world.store._shard(SHARD).position
    assert position is not None and world.store._shard(SHARD).ahead[P] == position.next + 2

    await restored.snapshotter.upgrade(SHARD, position)

    engine = await lose_redis(world, restored)
    assert contents(world.store) == before


async def test_a_store_that_has_lost_everything_has_nothing_uncovered_and_makes_no_cut() -> None:
    """Found by the simulation (tests/simulation/snapshots.py, seed 16)."""
    world, engine = await begun()
    await engine.look()
    world.store.wipe()
    world.snapshot_ms += int(SAMPLE_AGE_S * 1000)
    await engine.look()
    assert world.snapshots(SHARD) == {}
