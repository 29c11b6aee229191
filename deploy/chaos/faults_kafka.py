"""Faults of Kafka: killed, unreachable, slow, set up wrongly, flooded, and faults of what it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import TopicPartition

from contracts.topics import DOMAIN_PARTITIONS, INBOX, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from deploy.chaos.crew import ROLES
from deploy.chaos.fault import Fault
from deploy.chaos.kafka_files import cut_last_batch
from deploy.chaos.scene import Incident, Scene
from orchestrator.runtime.groups import ENGINE_GROUP

PULSE_SECONDS = (0.5, 0.25)
"""A slow broker: so long stopped, so long running, in turn."""
CUT_SHARDS_MAX = 8
SERVICE_CONCURRENCY = 2
SLOW_ANSWER_MS = 500
RECOVER_PENDING = "this build has no `counterpoint recover` yet: the loud refusal is shown, the way out of it is not"
CONTROL_SECONDS = 20.0


def kafka_faults() -> tuple[Fault, ...]:
    """Every fault of this family."""
    return (
        Fault("kafka-killed", "Kafka", "kill -9 of the broker, and restart", _killed),
        Fault("kafka-unreachable", "Kafka", "the broker does not answer for a minute", _unreachable),
        Fault("kafka-slow", "Kafka", "the broker stops and goes on in pulses for half a minute", _slow),
        Fault("kafka-wrong-partitions", "Kafka", "a topic has one partition too many: refused at start", _partitions),
        Fault("kafka-buffer-full", "Kafka", "a service that takes two at a time meets a slow provider", _buffer_full),
        Fault("kafka-group-gone", "Kafka", "the engine's group offsets are gone, Redis is there", _group_gone),
        Fault("kafka-inbox-expired", "Kafka", "the inbox no longer holds the stored offsets", _expired, spoils=True),
        Fault("kafka-tail-lost", "Kafka", "the inbox lost its last batches", _tail_lost, spoils=True),
        Fault("kafka-group-and-redis-gone", "Kafka", "group offsets and Redis are gone", _both_gone, spoils=True),
    )


async def _killed(scene: Scene, incident: Incident) -> None:
    await scene.kill("kafka")
    await incident.last(5, 1)
    incident.lift()
    await scene.start("kafka")


async def _unreachable(scene: Scene, incident: Incident) -> None:
    scene.freeze("kafka")
    await incident.last(60, 8)
    incident.lift()
    scene.thaw("kafka")


async def _slow(scene: Scene, incident: Incident) -> None:
    stopped, running = PULSE_SECONDS
    pulses = max(6, round(30 * incident.scale / (stopped + running)))
    for _ in range(pulses):
        scene.freeze("kafka")
        await asyncio.sleep(stopped)
        scene.thaw("kafka")
        await asyncio.sleep(running)
    incident.note(f"{pulses} pulses")
    incident.lift()


async def _partitions(scene: Scene, incident: Incident) -> None:
    """Of a topic that nobody reads or writes meanwhile, so that it can be made anew."""
    await scene.crew.terminate(*ROLES)
    more = {ORCHESTRATOR_DEAD_LETTERS: NewPartitions(DOMAIN_PARTITIONS + 1)}
    await scene.administer(lambda admin: admin.create_partitions(more))
    for role in ROLES:
        scene.crew.spawn(role)
        incident.note(f"{role}: {await scene.crew.refused(role)}")
    await scene.administer(lambda admin: admin.delete_topics([ORCHESTRATOR_DEAD_LETTERS]))
    await _retried(scene.apply_topics)
    incident.lift()
    await scene.crew.start(*ROLES)


async def _buffer_full(scene: Scene, incident: Incident) -> None:
    await scene.crew.terminate("payment")
    await scene.crew.start("payment", extra=("--option", f"concurrency={SERVICE_CONCURRENCY}"))
    await scene.misbehave("payment", latency_ms=SLOW_ANSWER_MS)
    await incident.last(30, 8)
    await scene.behave()
    incident.lift()
    await scene.crew.terminate("payment")
    await scene.crew.start("payment")


async def _group_gone(scene: Scene, incident: Incident) -> None:
    await scene.crew.terminate(*ROLES)
    await _delete_group(scene)
    incident.lift()
    await scene.crew.start(*ROLES)


async def _expired(scene: Scene, incident: Incident) -> None:
    scene.crew.kill("engine")
    await asyncio.sleep(3)
    everything = {TopicPartition(INBOX, shard): RecordsToDelete(before_offset=-1) for shard in range(SHARDS)}
    await scene.administer(lambda admin: admin.delete_records(everything))
    await _recover(scene, incident, "engine")


async def _tail_lost(scene: Scene, incident: Incident) -> None:
    await scene.crew.terminate(*ROLES)
    await asyncio.to_thread(scene.stack.stop, "kafka")
    folder = scene.stack.site.folder("kafka") / "data"
    cut = 0
    for shard in range(SHARDS):
        if cut < CUT_SHARDS_MAX and cut_last_batch(folder / f"{INBOX}-{shard}"):
            cut += 1
    incident.note(f"{cut} shards lost their last batch")
    incident.demand(cut > 0, "no shard had two batches to lose one of")
    await scene.start("kafka")
    await _recover(scene, incident, *ROLES)


async def _both_gone(scene: Scene, incident: Incident) -> None:
    await scene.crew.terminate(*ROLES)
    await _delete_group(scene)
    redis = scene.orchestrator_redis
    await redis.kill()
    redis.replace(None)
    await redis.start()
    await _recover(scene, incident, *ROLES)


async def _recover(scene: Scene, incident: Incident, *names: str) -> None:
    """The engine must refuse loudly; then a person decides, by the command line."""
    for name in names:
        scene.crew.spawn(name)
    reason = await scene.crew.not_ready("engine")
    incident.note(reason.partition(";")[0])
    if not await scene.operator.offers("recover"):
        incident.pending = RECOVER_PENDING
        return
    said = await scene.operator.run("recover", "--all", "--yes", "--json")
    incident.demand(said.code == 0, f"`counterpoint recover` failed: {said.error.strip()}")
    incident.note("recovered by `counterpoint recover`")
    incident.lift()
    await scene.crew.ready(*names)


async def _delete_group(scene: Scene) -> None:
    async def delete(admin: AIOKafkaAdminClient) -> None:
        # The client has no method for it, but knows the request.
        coordinator = await admin.find_coordinator(ENGINE_GROUP)
        answer = await admin._send_request(DeleteGroupsRequest([ENGINE_GROUP]), coordinator)
        for _, code in answer.results:
            if code:
                raise for_code(code)()

    await _retried(lambda: scene.administer(delete))


async def _retried(work: Callable[[], Awaitable[object]]) -> None:
    """The broker takes a moment to notice that members have left, or that a topic is gone."""
    give_up = asyncio.get_running_loop().time() + CONTROL_SECONDS
    while True:
        try:
            await work()
        except Exception:
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(0.5)
        else:
            return
