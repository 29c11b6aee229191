"""A store that went back in time is noticed also by shards at rest: their timers are gone, and nobody would tell."""

from __future__ import annotations

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.rules import rules_of
from tests.runtime.audit_world import BOOK, AuditWorld

P = "order-fulfilment:o1"
SHARD = partition_of(P, SHARDS)


async def test_a_shard_at_rest_folds_again_what_the_store_has_lost() -> None:
    world = AuditWorld()
    engine = await world.engine(rules_of(BOOK))
    await engine.work()
    image = world.store.image()
    world.start("o1")
    await engine.work()
    timers = world.store.timers(SHARD)
    assert timers
    world.store.rewind(image)
    await engine.work()
    assert world.store.timers(SHARD) == {}
    await engine.loop.ownership.review_stored()
    await engine.work()
    assert world.store.timers(SHARD) == timers
    assert engine.count("counterpoint_shard_restarts_total", why="store-moved") == 1


async def test_a_store_that_is_where_it_was_left_is_left_alone() -> None:
    world = AuditWorld()
    engine = await world.engine(rules_of(BOOK))
    world.start("o1")
    await engine.work()
    await engine.loop.ownership.review_stored()
    world.start("o2")
    await engine.work(flush=False)
    await engine.loop.ownership.review_stored()
    assert engine.count("counterpoint_shard_restarts_total", why="store-moved") == 0
