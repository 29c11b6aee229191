"""Faults of the two Redis: killed, unreachable, gone back in time, empty, full, and set up wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from contracts.topics import INBOX, SHARDS
from deploy.chaos.fault import Fault
from deploy.chaos.inbox_look import take_look
from deploy.chaos.redis_faults import RedisServer
from deploy.chaos.scene import Incident, Scene
from deploy.local.site import SERVICES
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.store_redis import RedisStore

REWIND_SECONDS = 2.0
FULL_BYTES = "1mb"
NO_LIMIT = "0"
COMMITTED_SECONDS = 8.0
"""On a new stack: an empty store is refused only where the service's group has committed offsets."""
RESTORED = "counterpoint_restored_processes_total"
RESTORE_SECONDS = 240.0
CUT_SECONDS = 90.0
CUT_SHARDS_MIN = 32
"""Of 64: a shard that had no input has no new cut."""
LOOK_SECONDS = 0.5
WAITING_TITLE = "the same while orders wait for a silent provider, snapshotted as they wait"


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two, and the programs that use it."""

    prefix: str
    words: str
    server: str
    checker: str
    """A program that must not start on a Redis that is set up wrongly."""
    settings: Sequence[tuple[str, str, str]]
    """Setting, wrong value, right value."""

    def redis(self, scene: Scene) -> RedisServer:
        return scene.orchestrator_redis if self.server == "redis-orchestrator" else scene.services_redis


_LOOSE = (("maxmemory-policy", "allkeys-lru", "noeviction"), ("appendonly", "no", "yes"))
ORCHESTRATOR = _Side("redis", "the orchestrator's Redis", "redis-orchestrator", "engine", _LOOSE)
STORE = _Side(
    "store", "the services' Redis", "redis-services", "payment", (*_LOOSE, ("appendfsync", "everysec", "always"))
)


def redis_faults() -> tuple[Fault, ...]:
    """Every fault of this family, for both."""
    return tuple(fault for side in (ORCHESTRATOR, STORE) for fault in _faults(side))


def _faults(side: _Side) -> tuple[Fault, ...]:
    async def killed(scene: Scene, incident: Incident) -> None:
        await side.redis(scene).kill()
        await incident.last(5, 1)
        incident.lift()
        await side.redis(scene).start()

    async def unreachable(scene: Scene, incident: Incident) -> None:
        scene.freeze(side.server)
        await incident.last(60, 6)
        incident.lift()
        scene.thaw(side.server)

    async def rewound(scene: Scene, incident: Incident) -> None:
        redis = side.redis(scene)
        redis.copy("rewind")
        before = scene.decisions.count
        await asyncio.sleep(REWIND_SECONDS)
        incident.note(f"went back {REWIND_SECONDS:g} s, {scene.decisions.count - before} decisions")
        await redis.kill()
        redis.replace("rewind")
        incident.lift()
        await redis.start()

    async def full(scene: Scene, incident: Incident) -> None:
        redis = side.redis(scene)
        await redis.configure("maxmemory", FULL_BYTES)
        await incident.last(30, 3)
        incident.lift()
        await redis.configure("maxmemory", NO_LIMIT)

    async def misconfigured(scene: Scene, incident: Incident) -> None:
        redis = side.redis(scene)
        await scene.crew.terminate(side.checker)
        for name, wrong, right in side.settings:
            await redis.configure(name, wrong)
            scene.crew.spawn(side.checker)
            incident.note(f"{name} {wrong}: {await scene.crew.refused(side.checker)}")
            await redis.configure(name, right)
        incident.lift()
        await scene.crew.start(side.checker)

    emptied = _redis_emptied if side is ORCHESTRATOR else _store_emptied
    what = (
        "comes from snapshots and what the inbox still has"
        if side is ORCHESTRATOR
        else "the services refuse it; then it is restored"
    )
    family, words = side.words, side.words
    more = (Fault("redis-emptied-waiting", words, WAITING_TITLE, _emptied_waiting),) if side is ORCHESTRATOR else ()
    return (
        *more,
        Fault(f"{side.prefix}-killed", family, f"kill -9 of {words}, restarted with its file", killed),
        Fault(f"{side.prefix}-unreachable", family, f"{words} does not answer for a minute", unreachable),
        Fault(f"{side.prefix}-rewound", family, f"{words} restarted from a copy two seconds old", rewound),
        Fault(f"{side.prefix}-emptied", family, f"{words} restarted empty: {what}", emptied),
        Fault(f"{side.prefix}-full", family, f"{words} out of memory, with noeviction", full),
        Fault(f"{side.prefix}-misconfigured", family, f"{words} set up wrongly: refused at start", misconfigured),
    )


async def _redis_emptied(scene: Scene, incident: Incident) -> None:
    """Nothing but time may be lost, although the inbox has only what no snapshot has."""
    await _cut_everywhere(scene, incident)
    await _restored(scene, incident)


async def _emptied_waiting(scene: Scene, incident: Incident) -> None:
    """Processes that wait for an answer are snapshotted as they wait, and wait on where they come from a snapshot."""
    await scene.misbehave("payment", silent=True)
    await _cut_everywhere(scene, incident)
    await _restored(scene, incident)
    await scene.behave()


async def _restored(scene: Scene, incident: Incident) -> None:
    before = await scene.crew.metric("engine", RESTORED)
    redis = scene.orchestrator_redis
    look = await take_look(scene.kafka, redis.url, ENGINE_GROUP)
    waiting = sum(scene.seen.phases.get(process) == "running" for process in look.processes)
    await redis.kill()
    redis.replace(None)
    incident.lift()
    await redis.start()
    async with asyncio.timeout(RESTORE_SECONDS):
        await _back(scene, before, look.processes)
    restored = await scene.crew.metric("engine", RESTORED) - before
    incident.note(f"{waiting} of {len(look.processes)} processes were under way; {restored:.0f} came from snapshots")


async def _back(scene: Scene, before: float, processes: frozenset[str]) -> None:
    """Wait until the engine has begun to restore, and everything is in Redis again."""
    url, restored = scene.orchestrator_redis.url, False
    while not restored or processes - (await take_look(scene.kafka, url, ENGINE_GROUP)).processes:
        await asyncio.sleep(LOOK_SECONDS)
        restored = restored or await scene.crew.metric("engine", RESTORED) > before


async def _cut_everywhere(scene: Scene, incident: Incident) -> None:
    """Wait for a new cut of every shard that works, and take from the inbox what is before the cuts."""
    store = RedisStore(scene.orchestrator_redis.url)
    try:
        first = await store.cut_states(range(SHARDS))
        async with asyncio.timeout(CUT_SECONDS):
            while True:
                now = await store.cut_states(range(SHARDS))
                moved = [shard for shard in range(SHARDS) if now[shard].offset != first[shard].offset]
                if len(moved) >= CUT_SHARDS_MIN:
                    break
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        await store.close()
    cuts = {shard: cut.offset for shard, cut in now.items() if cut.offset}
    expired = {TopicPartition(INBOX, shard): RecordsToDelete(before_offset=offset) for shard, offset in cuts.items()}
    await scene.administer(lambda admin: admin.delete_records(expired))
    incident.note(f"{len(cuts)} of {SHARDS} shards have a cut, and the inbox begins there")


async def _store_emptied(scene: Scene, incident: Incident) -> None:
    """It is a system of record: whoever runs must stop, whoever starts must refuse, until it is restored."""
    redis = scene.services_redis
    await asyncio.sleep(COMMITTED_SECONDS)
    await redis.kill()
    redis.copy("backup")
    redis.replace(None)
    await redis.start()
    for name in SERVICES:
        await scene.crew.refused(name)
    incident.note("every running service stopped by itself")
    scene.crew.spawn("payment")
    incident.note(await scene.crew.refused("payment"))
    await redis.kill()
    redis.replace("backup")
    incident.lift()
    await redis.start()
    await scene.crew.start(*SERVICES)
