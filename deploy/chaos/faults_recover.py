"""Faults after which a person must decide: the engine refuses shards, and `counterpoint recover` is the way out.

What the command says first (`--dry-run`) is compared with what the harness sees by itself, and then held to.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import TopicPartition

from contracts.topics import INBOX, SHARDS
from deploy.chaos.crew import ROLES
from deploy.chaos.fault import Fault
from deploy.chaos.inbox_look import Look, take_look
from deploy.chaos.kafka_files import cut_from
from deploy.chaos.promises import lost_inputs, not_kept, wrong_facts
from deploy.chaos.scene import Incident, Scene, retried
from orchestrator.runtime.groups import ENGINE_GROUP

CUT_SHARDS_MAX = 8
STEADY_SECONDS = 10.0
"""On a new stack: until most shards have stored something, and have a cut."""
UNFOLDED_SECONDS = 3.0
"""So long the router goes on without an engine: what it appends then is in the inbox, and folded nowhere."""
RECOVER_SECONDS = 240.0
WHOLE_SECONDS = 60.0
"""How long a rebuilt shard may take to have all of its processes again."""


def recover_faults() -> tuple[Fault, ...]:
    """Every fault of this family. (That the group's offsets alone are gone stops nothing.)"""
    return (
        Fault("kafka-group-gone", "Kafka", "the engine's group offsets are gone, Redis is there", _group_gone),
        Fault("kafka-inbox-expired", "Kafka", "the inbox no longer holds the stored offsets", _expired, spoils=True),
        Fault("kafka-tail-lost", "Kafka", "the inbox lost its last batches", _tail_lost, spoils=True),
        Fault("kafka-group-and-redis-gone", "Kafka", "group offsets and Redis are gone", _both_gone, spoils=True),
    )


async def _group_gone(scene: Scene, incident: Incident) -> None:
    await scene.crew.terminate(*ROLES)
    await _delete_group(scene)
    incident.lift()
    await scene.crew.start(*ROLES)


async def _expired(scene: Scene, incident: Incident) -> None:
    await asyncio.sleep(STEADY_SECONDS)
    scene.crew.kill("engine")
    await asyncio.sleep(UNFOLDED_SECONDS)
    everything = {TopicPartition(INBOX, shard): RecordsToDelete(before_offset=-1) for shard in range(SHARDS)}
    await scene.administer(lambda admin: admin.delete_records(everything))
    await _recover(scene, incident, (await _look(scene)).processes, "engine")


async def _tail_lost(scene: Scene, incident: Incident) -> None:
    """The last input that was folded is lost, and all that came after it."""
    await asyncio.sleep(STEADY_SECONDS)
    scene.crew.kill("engine")
    await asyncio.sleep(UNFOLDED_SECONDS)
    await scene.crew.terminate("router", "clock")
    before = await _look(scene)
    await asyncio.to_thread(scene.stack.stop, "kafka")
    folder = scene.stack.site.folder("kafka") / "data"
    cut = 0
    for shard, stored in before.stored.items():
        if cut < CUT_SHARDS_MAX and stored and cut_from(folder / f"{INBOX}-{shard}", stored - 1):
            cut += 1
    incident.note(f"{cut} shards lost their tail, from the last folded input on")
    incident.demand(cut > 0, "no shard had two batches to lose one of")
    await scene.start("kafka")
    await _recover(scene, incident, before.processes, *ROLES)


async def _both_gone(scene: Scene, incident: Incident) -> None:
    await asyncio.sleep(STEADY_SECONDS)
    await scene.crew.terminate(*ROLES)
    had = (await _look(scene)).processes
    await _delete_group(scene)
    redis = scene.orchestrator_redis
    await redis.kill()
    redis.replace(None)
    await redis.start()
    await _recover(scene, incident, had, *ROLES)


async def _recover(scene: Scene, incident: Incident, had: frozenset[str], *names: str) -> None:
    """The engine must refuse loudly; then a person decides, by the command line, and what it says first must be so.
    `had`: the processes that there were before the damage."""
    for name in names:
        scene.crew.spawn(name)
    reason = await scene.crew.not_ready("engine")
    incident.note(reason.partition(";")[0])
    before = await _look(scene)
    plans = await _asked(scene, "--dry-run")
    incident.problems += wrong_facts(plans, before, await _look(scene))
    incident.note(_summary(plans))
    told = await _asked(scene, "--yes")
    incident.demand(
        {plan["shard"] for plan in told if plan["recovered"]} == {plan["shard"] for plan in plans},
        "`counterpoint recover` left shards: " + ", ".join(str(p["shard"]) for p in told if not p["recovered"]),
    )
    incident.lift()
    incident.lost_inputs = lost_inputs(plans)
    await scene.crew.ready(*names)
    incident.problems += await _kept(scene, plans, had)
    left = await _asked(scene, "--dry-run")
    incident.demand(not left, f"after `counterpoint recover` {len(left)} shards still refuse")


async def _asked(scene: Scene, how: str) -> list[dict[str, Any]]:
    """What `recover --all` says of each shard."""
    said = await scene.operator.run("recover", "--all", how, "--json", seconds=RECOVER_SECONDS)
    if not said.out:
        raise RuntimeError(f"`counterpoint recover {how}` ended with {said.code}: {said.error.strip()}")
    plans: list[dict[str, Any]] = json.loads(said.out)["shards"]
    return plans


async def _kept(scene: Scene, plans: Sequence[dict[str, Any]], had: frozenset[str]) -> list[str]:
    """A shard is at work again before it has folded all that it has to fold."""
    give_up = asyncio.get_running_loop().time() + WHOLE_SECONDS
    while gone := not_kept(plans, had, (await _look(scene)).processes):
        if asyncio.get_running_loop().time() > give_up:
            return gone
        await asyncio.sleep(1)
    return []


async def _look(scene: Scene) -> Look:
    return await take_look(scene.kafka, scene.orchestrator_redis.url, ENGINE_GROUP)


def _summary(plans: Sequence[dict[str, Any]]) -> str:
    ways = Counter((plan["code"], plan["action"], plan["cut"] is not None) for plan in plans)
    told = [
        f"{count} shards {code}: {action}{' from the cut of their snapshots' if cut else ''}"
        for (code, action, cut), count in sorted(ways.items())
    ]
    return "`counterpoint recover`: " + "; ".join(told)


async def _delete_group(scene: Scene) -> None:
    async def delete(admin: AIOKafkaAdminClient) -> None:
        # The client has no method for it, but knows the request.
        coordinator = await admin.find_coordinator(ENGINE_GROUP)
        answer = await admin._send_request(DeleteGroupsRequest([ENGINE_GROUP]), coordinator)
        for _, code in answer.results:
            if code:
                raise for_code(code)()

    await retried(lambda: scene.administer(delete))
