"""What the harness sees of the shards by itself: the inbox in Kafka, the engine's group, and Redis, without asking the
orchestrator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
    """Other shards may be at work meanwhile, so the order counts: where the inbox begins comes first and where it ends
    last. A sound shard is then never seen beyond its end because it went on between two questions.

    Raises the clients' errors: Kafka or Redis is away."""
    async with _consumer(kafka, group) as consumer:
        places = [TopicPartition(INBOX, shard) for shard in range(SHARDS)]
        # Assigned, not subscribed: it asks for the group's offsets and never is a member.
        consumer.assign(places)
        starts = await consumer.beginning_offsets(places)
        committed = {place.partition: await consumer.committed(place) for place in places}
        stored, processes = await _kept(redis_url)
        ends = await consumer.end_offsets(places)
    bounds = {place.partition: (starts[place], ends[place]) for place in places}
    return Look(bounds, committed, stored, processes)


async def _kept(redis_url: str) -> tuple[Mapping[int, int | None], frozenset[str]]:
    redis = Redis.from_url(redis_url)
    try:
        stored = {}
        for shard in range(SHARDS):
            next_offset = await redis.hget(f"cp:{{{shard}}}:offset", "next")
            stored[shard] = None if next_offset is None else int(next_offset)
        keys = [key async for key in redis.scan_iter(f"cp:*{PROCESS_INFIX}*", count=SCAN_COUNT)]
    finally:
        await redis.aclose()
    return stored, frozenset(key.decode().partition(PROCESS_INFIX)[2] for key in keys)


@asynccontextmanager
async def _consumer(kafka: str, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
