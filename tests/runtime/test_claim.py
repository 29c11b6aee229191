"""The guards of a claim, each as a value and each planted and seen firing: the shard refuses, the others go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
import pytest

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.claim import Claim, Facts, Refusal, judge
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.ownership import RefusedShard
from orchestrator.runtime.store import ShardPosition
from tests.runtime.fake_engine import fake_input, fake_rules, trace_of
from tests.runtime.world import Engine, World

STORED = ShardPosition(10, "r", "c", 1)
SOUND = Facts(shard=3, stored=STORED, committed=12, log_start=0, log_end=20, semantics=1)


@pytest.mark.parametrize(
    ("facts", "claim"),
    [
        (SOUND, Claim(10, 10, 12, "r")),
        (replace(SOUND, committed=None), Claim(10, 10, 10, "r")),
        (replace(SOUND, committed=4), Claim(10, 10, 10, "r")),
        (replace(SOUND, log_start=9), Claim(10, 10, 12, "r")),
        (replace(SOUND, log_start=10), Claim(10, 10, 12, None)),
        (replace(SOUND, stored=ShardPosition(0, "", "c", 1), committed=0), Claim(0, 0, 0, None)),
        (replace(SOUND, log_end=12), Claim(10, 10, 12, "r")),
        (replace(SOUND, stored=None), Claim(0, None, 12, None)),
        (replace(SOUND, stored=None, committed=0), Claim(0, None, 0, None)),
        (replace(SOUND, stored=None, committed=None, log_end=0), Claim(0, None, 0, None)),
    ],
)
def test_what_may_be_claimed(facts: Facts, claim: Claim) -> None:
    assert judge(facts) == claim


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (replace(SOUND, stored=None, committed=None), "nothing-stored"),
        (replace(SOUND, stored=None, committed=None, log_start=20), "nothing-stored"),
        (replace(SOUND, stored=None, log_start=1), "history-gone"),
        (replace(SOUND, log_start=11), "behind-log-start"),
        (replace(SOUND, log_end=9, committed=9), "beyond-log-end"),
        (replace(SOUND, committed=21), "group-beyond-log-end"),
        (replace(SOUND, stored=None, committed=1, log_end=0), "group-beyond-log-end"),
        (replace(SOUND, semantics=0), "newer-engine"),
        (replace(SOUND, semantics=2), "older-engine"),
    ],
)
def test_what_is_refused(facts: Facts, code: str) -> None:
    verdict = judge(facts)
    assert isinstance(verdict, Refusal)
    assert verdict.code == code
    assert verdict.text.startswith("shard 3: ") and "A person must decide" in verdict.text


P = "fake:a"
SHARD = partition_of(P, SHARDS)
OTHER = "fake:elsewhere"


async def no_state(world: World) -> None:
    world.store.wipe()
    world.log.forget_offsets(ENGINE_GROUP)


async def no_state_over_a_trimmed_log(world: World) -> None:
    world.store.wipe()
    world.log.trim(world.place(SHARD), 1)


async def trimmed_past_the_state(world: World) -> None:
    world.put(*(fake_input(P, f"x{number}") for number in range(5)))
    world.log.trim(world.place(SHARD), 6)


async def a_shorter_log(world: World) -> None:
    world.log.cut(world.place(SHARD), 2)
    world.log.forget_offsets(ENGINE_GROUP)


async def a_group_that_is_ahead(world: World) -> None:
    world.log._groups[ENGINE_GROUP].offsets[world.place(SHARD)] = 99


async def another_log(world: World) -> None:
    world.log.cut(world.place(SHARD), 3)
    world.put(fake_input(P, "another"))


async def folded_by_a_newer_build(world: World) -> None:
    held = world.store._shards[SHARD]
    assert held.position is not None
    held.position = replace(held.position, semantics=2)


PLANTED: dict[str, Callable[[World], Awaitable[None]]] = {
    "nothing-stored": no_state,
    "history-gone": no_state_over_a_trimmed_log,
    "behind-log-start": trimmed_past_the_state,
    "beyond-log-end": a_shorter_log,
    "group-beyond-log-end": a_group_that_is_ahead,
    "other-record": another_log,
    "newer-engine": folded_by_a_newer_build,
}


async def worked_on() -> World:
    world = World()
    engine = await world.engine()
    world.put(
        fake_input(P, "start", "fake.start.v1"),
        *(fake_input(P, f"s{number}") for number in (1, 2, 3)),
        fake_input(OTHER, "start", "fake.start.v1"),
    )
    await engine.work()
    await engine.die()
    return world


def assert_refuses(engine: Engine, code: str) -> None:
    assert engine.count("counterpoint_shard_refused", shard=str(SHARD), code=code) == 1
    assert f"shard {SHARD}: " in (engine.readiness.problem() or "")
    assert SHARD not in engine.loop.ownership.owned


@pytest.mark.parametrize("code", PLANTED)
async def test_each_guard_fires_alone_and_is_reported(code: str) -> None:
    world = await worked_on()
    await PLANTED[code](world)
    before = world.effect_ids()
    if code != "nothing-stored":
        world.put(fake_input(OTHER, "s1"))

    engine = await world.engine()
    await engine.work()

    assert_refuses(engine, code)
    refusal = msgspec.json.decode((await world.store.refusals())[SHARD], type=RefusedShard)
    assert (refusal.shard, refusal.code, refusal.instance) == (SHARD, code, "test")
    assert not any(name.startswith(f"{P}/") for name in world.effect_ids()[len(before) :])
    if code != "nothing-stored":
        (blob,) = await world.store.blobs([OTHER])
        assert (trace_of(blob) or "").endswith(":s1"), "other shards go on"


async def test_a_newer_build_refuses_until_it_can_cut_snapshots() -> None:
    world = await worked_on()
    engine = await world.engine(fake_rules(semantics=2))
    await engine.work()
    assert_refuses(engine, "older-engine")


async def test_a_refusal_ends_when_a_person_has_acted() -> None:
    world = await worked_on()
    await a_group_that_is_ahead(world)
    engine = await world.engine()
    await engine.work()
    assert_refuses(engine, "group-beyond-log-end")

    world.log._groups[ENGINE_GROUP].offsets[world.place(SHARD)] = 4
    world.put(fake_input(P, "s4"))
    engine.loop.ownership.review_refused()
    await engine.work()

    assert engine.readiness.problem() is None
    assert await world.store.refusals() == {}
    (blob,) = await world.store.blobs([P])
    assert trace_of(blob) == " 0:start 1:s1 2:s2 3:s3 4:s4"


async def test_the_first_start_over_an_inbox_that_was_never_claimed_is_a_persons_business() -> None:
    """Without the group's start (see group_start_kafka) nobody can tell it from the loss of everything."""
    world = World()
    world.log.forget_offsets(ENGINE_GROUP)
    world.put(fake_input(P, "start", "fake.start.v1"))
    engine = await world.engine()
    await engine.work()
    assert_refuses(engine, "nothing-stored")
    assert len(engine.loop.ownership.owned) == SHARDS - 1, "empty shards start at once"
    assert world.log.committed_of(ENGINE_GROUP, world.place(SHARD + 1)) == 0


async def test_the_inbox_shrinks_under_a_living_engine() -> None:
    world = World()
    engine = await world.engine()
    world.put(fake_input(P, "start", "fake.start.v1"), fake_input(P, "s1"))
    await engine.work()
    world.log.cut(world.place(SHARD), 1)

    await engine.work()

    assert_refuses(engine, "group-beyond-log-end")
    assert engine.count("counterpoint_shard_restarts_total", why="position-lost") == 1


async def test_a_marker_in_the_log_is_passed_and_a_read_that_was_lost_is_not() -> None:
    world = World()
    engine = await world.engine()
    world.put(fake_input(P, "start", "fake.start.v1"))
    await engine.work()
    world.put(fake_input(P, "s1"), fake_input(P, "s2"))
    await engine.loop.ownership.subscription.poll(0)
    world.put(fake_input(P, "s3"))
    await engine.work()
    (blob,) = await world.store.blobs([P])
    assert trace_of(blob) == " 0:start 1:s1 2:s2 3:s3"

    world.log.mark(world.place(SHARD))
    world.put(fake_input(P, "s4"))
    await engine.work()
    (blob,) = await world.store.blobs([P])
    assert trace_of(blob) == " 0:start 1:s1 2:s2 3:s3 5:s4"
