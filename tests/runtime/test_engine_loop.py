"""The shard loop over memory adapters: what a crash, a rewind or a second owner may not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from contracts.ids import partition_of
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.store import Loaded
from tests.runtime.fake_engine import fake_input, trace_of
from tests.runtime.world import World


@pytest.fixture
def world() -> World:
    return World()


P = "fake:a"
SHARD = partition_of(P, SHARDS)


def life(process_id: str = P, steps: int = 3) -> list:
    return [
        fake_input(process_id, "start", "fake.start.v1"),
        *(fake_input(process_id, f"s{number}") for number in range(1, steps + 1)),
    ]


async def state(world: World, process_id: str = P) -> str | None:
    return trace_of((await world.store.blobs([process_id]))[0])


async def test_inputs_are_folded_published_and_stored(world: World) -> None:
    engine = await world.engine()
    world.put(*life())

    assert await engine.work() == 4

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3"
    assert world.effect_ids() == [f"{P}/start", f"{P}/s1", f"{P}/s2", f"{P}/s3"]
    assert await world.store.history(P, 0, 10) == [b"0:start", b"1:s1", b"2:s2", b"3:s3"]
    assert (await world.store.positions([SHARD]))[SHARD].next == 4
    assert world.log.committed_of(ENGINE_GROUP, world.place(SHARD)) == 4
    assert engine.readiness.problem() is None


async def test_another_engine_goes_on_where_the_first_was_killed(world: World) -> None:
    first = await world.engine()
    world.put(*life())
    await first.work()
    await first.die()
    world.put(fake_input(P, "s4"))

    await (await world.engine()).work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3 4:s4"
    assert world.effect_ids().count(f"{P}/s3") == 1


async def test_killed_after_publishing_and_before_the_checkpoint(world: World) -> None:
    """Nothing is known of what was published: it is sent again with the same ids, and the state is the same."""
    first = await world.engine()
    world.put(*life())
    await first.work(flush=False)
    assert world.effect_ids() and await state(world) is None
    await first.die()

    await (await world.engine()).work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3"
    assert set(world.effect_ids()) == {f"{P}/start", f"{P}/s1", f"{P}/s2", f"{P}/s3"}


async def test_killed_after_the_commit_and_before_the_checkpoint(world: World) -> None:
    """Published effects are not sent again; what is still awaited is, once."""
    first = await world.engine()
    world.put(*life())
    world.store.faults.failed_calls = 0
    await first.work(flush=False)
    world.store.faults.away = True
    await first.loop.flush()
    assert world.log.committed_of(ENGINE_GROUP, world.place(SHARD)) == 4
    await first.die()
    world.store.faults.away = False
    before = world.effect_ids()

    second = await world.engine()
    await second.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3"
    assert world.effect_ids() == [*before, f"{P}/s3"]
    assert second.count("counterpoint_effects_suppressed_total") == 4
    assert second.count("counterpoint_commands_resent_total") == 1


async def test_nothing_is_resent_for_a_process_that_awaits_nothing(world: World) -> None:
    first = await world.engine()
    world.put(*life(), fake_input(P, "end", "fake.done.v1"))
    await first.work(flush=False)
    world.store.faults.away = True
    await first.loop.flush()
    await first.die()
    world.store.faults.away = False
    before = world.effect_ids()

    await (await world.engine()).work()

    assert world.effect_ids() == before


@pytest.mark.parametrize("stored", [0, 1, 2, 3, 99])
async def test_an_append_fails_at_any_point(world: World, stored: int) -> None:
    """The batch is dropped and folded again; no effect is lost, none has another id."""
    engine = await world.engine()
    await engine.work()
    world.put(*life())
    world.log.faults.append_cuts.append(stored)

    await engine.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3"
    assert set(world.effect_ids()) == {f"{P}/start", f"{P}/s1", f"{P}/s2", f"{P}/s3"}
    assert engine.count("counterpoint_shard_restarts_total", why="append-failed") == 1
    assert (await world.store.positions([SHARD]))[SHARD].next == 4


async def test_a_lost_answer_to_a_checkpoint_is_no_mismatch(world: World) -> None:
    engine = await world.engine()
    world.put(*life())
    await engine.work(flush=False)
    world.store.faults.lost_answers = 1

    assert not await engine.loop.flush()
    assert await engine.loop.flush()

    assert engine.count("counterpoint_checkpoints_total", result="repeated") == 1
    assert engine.count("counterpoint_shard_restarts_total", why="store-moved") == 0
    assert await world.store.history(P, 0, 10) == [b"0:start", b"1:s1", b"2:s2", b"3:s3"]


async def test_a_checkpoint_that_is_written_while_a_load_is_answered_is_no_mismatch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await world.engine()
    world.put(*life())
    await engine.work(flush=False)
    load = world.store.load

    async def overtaken(wanted: Mapping[int, Sequence[str]]) -> Mapping[int, Loaded]:
        loaded = await load(wanted)
        await engine.loop.flush()
        return loaded

    monkeypatch.setattr(world.store, "load", overtaken)
    neighbour = next(one for n in range(10_000) if partition_of(one := f"fake:n{n}", SHARDS) == SHARD)
    world.put(fake_input(neighbour, "start", "fake.start.v1"))
    await engine.work()

    assert f"{neighbour}/start" in world.effect_ids()
    assert engine.count("counterpoint_shard_restarts_total", why="store-moved") == 0


async def test_the_store_goes_back_in_time_before_a_checkpoint(world: World) -> None:
    engine = await world.engine()
    world.put(*life())
    await engine.work()
    image = world.store.image()
    world.put(fake_input(P, "s4"))
    await engine.work()
    world.store.rewind(image)
    world.put(fake_input(P, "s5"))

    await engine.work()
    await engine.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3 4:s4 5:s5"
    assert world.effect_ids().count(f"{P}/s4") == 1, "it had been published: it is held back in the replay"
    assert engine.count("counterpoint_shard_restarts_total", why="store-moved") == 1
    history = await world.store.history(P, 0, 10)
    assert history == [b"0:start", b"1:s1", b"2:s2", b"3:s3", b"4:s4", b"5:s5"]


async def test_a_rewound_store_is_found_out_before_a_stale_state_is_decided_on(world: World) -> None:
    """The process is not in memory: its load would bring back an old state."""
    engine = await world.engine(cache_processes=1)
    other = next(f"fake:{n}" for n in range(10_000) if partition_of(f"fake:{n}", SHARDS) == SHARD)
    world.put(*life())
    await engine.work()
    image = world.store.image()
    world.put(fake_input(P, "s4"))
    await engine.work()
    world.put(*life(other))
    await engine.work()
    world.store.rewind(image)
    world.put(fake_input(P, "s5"))

    await engine.work()
    await engine.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3 4:s4 9:s5"
    assert await state(world, other) == " 5:start 6:s1 7:s2 8:s3"
    assert len(world.effects()) == 10, "no effect was decided on the old state"


async def test_what_is_stored_leaves_memory_at_once_and_not_with_the_next_input(world: World) -> None:
    """A shard at rest holds no more than its limit, whatever it had to hold until it was stored."""
    engine = await world.engine(cache_processes=2)
    for name in (f"fake:{n}" for n in range(2_000)):
        if partition_of(name, SHARDS) == SHARD:
            world.put(*life(name))

    await engine.work(flush=False)
    shard = engine.loop.ownership.active[SHARD]
    assert len(shard._cache) > 10, "what is not stored yet must stay"
    await engine.loop.flush()

    assert len(shard._cache) == 2


async def test_a_wiped_store_is_folded_again_from_a_whole_log(world: World) -> None:
    engine = await world.engine()
    world.put(*life())
    await engine.work()
    world.store.wipe()
    before = world.effect_ids()
    world.put(fake_input(P, "s4"))

    await engine.work()
    await engine.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3 4:s4"
    assert world.effect_ids()[: len(before)] == before
    assert world.effect_ids()[len(before) :] == [f"{P}/s4", f"{P}/s4"], (
        "published, then sent once more after the replay"
    )


async def test_two_owners_agree(world: World) -> None:
    """A zombie that goes on does no harm: both fold the same, one of them finds that the store moved."""
    zombie = await world.engine()
    world.put(*life())
    await zombie.work()
    other_log_member = zombie.loop.ownership.subscription
    other_log_member.expelled = True
    world.log._groups[ENGINE_GROUP].members.remove(other_log_member)

    owner = await world.engine()
    await owner.work()
    world.put(fake_input(P, "s4"))
    await zombie.work()
    await owner.work()
    world.put(fake_input(P, "s5"))
    await owner.work()
    await zombie.work()
    await owner.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3 4:s4 5:s5"
    assert await world.store.history(P, 0, 10) == [b"0:start", b"1:s1", b"2:s2", b"3:s3", b"4:s4", b"5:s5"]
    assert set(world.effect_ids()) == {f"{P}/start", *(f"{P}/s{n}" for n in range(1, 6))}
    moved = [e.count("counterpoint_shard_restarts_total", why="store-moved") for e in (zombie, owner)]
    assert sum(moved) >= 1


async def test_an_undecodable_input_is_dead_lettered_and_passed(world: World) -> None:
    engine = await world.engine()
    start, *steps = life()
    bad = fake_input(P, "bad")
    bad = type(bad)(bad.topic, bad.key, bad.value, (("ce_specversion", b"0.3"), *bad.headers[1:]), bad.partition)
    world.put(start, bad, *steps)

    await engine.work()

    assert await state(world) == " 0:start 2:s1 3:s2 4:s3"
    (letter,) = world.log.records(ORCHESTRATOR_DEAD_LETTERS)
    headers = dict(letter.headers)
    assert headers["dl_reason"] == b"wrong-specversion"
    assert (headers["dl_topic"], headers["dl_offset"]) == (INBOX.encode(), b"1")
    assert headers["ce_specversion"] == b"0.3" and letter.value == b"{}"
    assert engine.count("counterpoint_dead_letters_total", role="engine", reason="wrong-specversion") == 1


@pytest.mark.parametrize(("kind", "code"), [("fake.newer.v1", "unknown-version"), ("fake.bug.v1", "engine-fault")])
async def test_a_shard_that_cannot_decide_stops_alone_and_says_so(world: World, kind: str, code: str) -> None:
    engine = await world.engine()
    other = "fake:elsewhere"
    assert partition_of(other, SHARDS) != SHARD
    world.put(*life(), fake_input(P, "x", kind), fake_input(P, "s4"))
    world.put(*life(other))

    await engine.work()

    assert await state(world) == " 0:start 1:s1 2:s2 3:s3"
    assert await state(world, other) == " 0:start 1:s1 2:s2 3:s3"
    assert (await world.store.positions([SHARD]))[SHARD].next == 4
    assert world.log.committed_of(ENGINE_GROUP, world.place(SHARD)) == 4
    problem = engine.readiness.problem()
    assert problem is not None and f"shard {SHARD}, offset 4" in problem
    assert engine.count("counterpoint_shard_refused", shard=str(SHARD), code=code) == 1
    assert code.encode() in (await world.store.refusals())[SHARD]


async def test_an_effect_that_the_log_refuses_for_good_halts_its_shard_alone(world: World) -> None:
    engine = await world.engine()
    other = "fake:elsewhere"
    world.log.faults.refused_types.add("fake.step.v1")
    world.put(fake_input(P, "start", "fake.start.v1"), fake_input(other, "start", "fake.start.v1"))
    await engine.work()
    world.put(fake_input(P, "s1"), fake_input(other, "end", "fake.done.v1"))

    await engine.work()

    assert await state(world) == " 0:start"
    assert await state(world, other) == " 0:start 1:end"
    assert engine.count("counterpoint_shard_refused", shard=str(SHARD), code="effect-refused") == 1


async def test_a_store_that_is_away_is_waited_out(world: World) -> None:
    engine = await world.engine()
    world.put(*life())
    await engine.work(flush=False)
    world.store.faults.away = True

    assert not await engine.loop.flush()
    assert "the store is away" in (engine.readiness.problem() or "")
    world.store.faults.away = False
    assert await engine.loop.flush()

    assert engine.readiness.problem() is None
    assert await state(world) == " 0:start 1:s1 2:s2 3:s3"


async def test_a_rebalance_hands_over_what_is_stored(world: World) -> None:
    first = await world.engine()
    ids = [f"fake:{number}" for number in range(40)]
    for process_id in ids:
        world.put(*life(process_id))
    await first.work(flush=False)

    second = await world.engine()
    for process_id in ids:
        world.put(fake_input(process_id, "s4"))
    await first.work()
    await second.work()

    assert first.loop.ownership.owned and second.loop.ownership.owned
    assert not first.loop.ownership.owned & second.loop.ownership.owned
    for process_id in ids:
        assert (await state(world, process_id) or "").endswith(":s4")
    assert len(world.effect_ids()) == len(set(world.effect_ids())), "the hand-over was orderly: nothing was repeated"


async def test_a_large_backlog_is_stored_in_bounded_checkpoints(world: World) -> None:
    engine = await world.engine()
    world.put(*life(steps=700))

    await engine.work()

    assert len((await state(world) or "").split()) == 701
    assert engine.count("counterpoint_checkpoint_inputs_bucket", le="500.0") == 3
    assert engine.count("counterpoint_checkpoint_inputs_bucket", le="250.0") == 1


async def test_timers_and_indexes_follow_the_process(world: World) -> None:
    engine = await world.engine()
    world.put(fake_input(P, "start", "fake.start.v1"), fake_input(P, "t", "fake.timer.v1", b"5000"))
    await engine.work()
    assert world.store.timers(SHARD) == {(P, "nudge"): 5000}
    assert world.store.indexes(SHARD) == {"fake:running": {P: world.now_ms}}

    world.now_ms += 10
    world.put(fake_input(P, "end", "fake.done.v1"))
    await engine.work()

    assert world.store.timers(SHARD) == {}
    assert world.store.indexes(SHARD) == {"fake:completed": {P: world.now_ms}}
