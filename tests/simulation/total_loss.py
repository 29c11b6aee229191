"""The one fault that must not be mended by itself: the store and the group's offsets both gone over a used inbox.

Starting over would do everything again, so every shard with a past must refuse, loudly, and publish nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from contracts.topics import INBOX
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log import Place
from tests.simulation.chance import Chance
from tests.simulation.hosts import OrchestratorHost
from tests.simulation.run import ENDING_TURNS_MAX
from tests.simulation.scenario import scenario_of
from tests.simulation.virtual_loop import VirtualLoop
from tests.simulation.world import World

LOSS_AT_S = (0.5, 12.0, 45.0)
WATCHED_S = 120.0


def lose_everything(seed: int) -> list[str]:
    """Run a world, lose store and offsets, start the engine again: the codes of its refusals.

    Raises:
        AssertionError: a used shard does not refuse, or something is published in spite of it.
    """
    scenario = replace(scenario_of(seed), faults=(), snapshots=False)
    chance = Chance(seed)
    loop = VirtualLoop(chance.order)
    world = World(scenario, loop, chance, None)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_lose(world))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _lose(world: World) -> list[str]:
    for service in world.services:
        world.add_service(service, "a")
    slot = world.add_orchestrator("orchestrator-a")
    for event in (*world.scenario.orders, *world.scenario.jobs):
        world.publish(event, f"start-{event.key}")
    await asyncio.sleep(world.chance.stream("loss").choice(LOSS_AT_S))
    assert slot.program is not None
    slot.program.kill()
    world.images.wipe()
    world.broker.forget_offsets(ENGINE_GROUP)
    used = {place.partition for place in world.broker.places(frozenset((INBOX,))) if world.broker.bounds_of(place)[1]}
    published = len(world.oracle.expected), _unpublished(world)
    world.start(slot)
    await asyncio.sleep(WATCHED_S)
    assert isinstance(slot.host, OrchestratorHost)
    refused = slot.host.engine.ownership.refused
    assert used <= refused.keys(), f"shards {sorted(used - refused.keys())} have a past, and start over"
    assert not used & slot.host.engine.ownership.active.keys()
    assert _unpublished(world) >= published[1], "a shard that refuses has published an effect"
    assert slot.host.readiness.problem(), "a shard refuses in silence"
    for other in world.slots.values():
        if other.program is not None:
            other.program.kill()
    for _ in range(ENDING_TURNS_MAX):
        await asyncio.sleep(0)
    assert all(world.broker.committed_of(ENGINE_GROUP, Place(INBOX, shard)) is None for shard in used)
    return sorted(refused[shard].code for shard in used)


def _unpublished(world: World) -> int:
    return sum(len(waiting) for waiting in world.oracle.unpublished.values())
