"""What the harness sees of the shards by itself: the inbox in Kafka, the engine's group, and Redis, without asking the
orchestrator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from contracts.topics import INBOX, SHARDS

SCAN_COUNT = 5_000
PROCESS_INFIX = ":process:"


@dataclass(frozen=True, slots=True)
class Look:
    """By shard: the inbox' first and next offset, the group's offset, and the stored next offset (None: there is
    none). `processes`: ids of all that Redis has."""

    bounds: Mapping[int, tuple[int, int]]
    committed: Mapping[int, int | None]
    stored: Mapping[int, int | None]
    processes: frozenset[str] = field(default=frozenset())


async def take_look(kafka: str, redis_url: str, group: str) -> Look:
    """Raises the clients' errors: Kafka or Redis is away."""
    bounds, committed = await _log(kafka, group)
    redis = Redis.from_url(redis_url)
    try:
        stored = {}
        for shard in range(SHARDS):
            next_offset = await redis.hget(f"cp:{{{shard}}}:offset", "next")
            stored[shard] = None if next_offset is None else int(next_offset)
        keys = [key async for key in redis.scan_iter(f"cp:*{PROCESS_INFIX}*", count=SCAN_COUNT)]
    finally:
        await redis.aclose()
    return Look(bounds, committed, stored, frozenset(key.decode().partition(PROCESS_INFIX)[2] for key in keys))


async def _log(kafka: str, group: str) -> tuple[Mapping[int, tuple[int, int]], Mapping[int, int | None]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(INBOX, shard) for shard in range(SHARDS)]
        # Assigned, not subscribed: it asks for the group's offsets and never is a member.
        consumer.assign(places)
        starts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        committed = {place.partition: await consumer.committed(place) for place in places}
        return {place.partition: (starts[place], ends[place]) for place in places}, committed
    finally:
        await consumer.stop()
