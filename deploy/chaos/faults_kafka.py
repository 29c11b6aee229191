"""Faults of Kafka: killed, unreachable, slow, set up wrongly, and flooded."""

from __future__ import annotations

import asyncio

from aiokafka.admin import NewPartitions

from contracts.topics import DOMAIN_PARTITIONS, ORCHESTRATOR_DEAD_LETTERS
from deploy.chaos.crew import ROLES
from deploy.chaos.fault import Fault
from deploy.chaos.scene import Incident, Scene, retried

PULSE_SECONDS = (0.5, 0.25)
"""A slow broker: so long stopped, so long running, in turn."""
SERVICE_CONCURRENCY = 2
SLOW_ANSWER_MS = 500


def kafka_faults() -> tuple[Fault, ...]:
    """Every fault of this family."""
    return (
        Fault("kafka-killed", "Kafka", "kill -9 of the broker, and restart", _killed),
        Fault("kafka-unreachable", "Kafka", "the broker does not answer for a minute", _unreachable),
        Fault("kafka-slow", "Kafka", "the broker stops and goes on in pulses for half a minute", _slow),
        Fault("kafka-wrong-partitions", "Kafka", "a topic has one partition too many: refused at start", _partitions),
        Fault("kafka-buffer-full", "Kafka", "a service that takes two at a time meets a slow provider", _buffer_full),
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
    await retried(scene.apply_topics)
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
