"""A group's offsets, asked for without becoming a member."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from orchestrator.runtime.log import LogUnavailable

REQUEST_LIMIT_S = 15.0


async def group_offsets(servers: str, group: str, topic: str, partitions: int) -> dict[int, int | None]:
    """Next offsets by partition, None where there is none. Raises LogUnavailable."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    try:
        async with asyncio.timeout(REQUEST_LIMIT_S):
            await consumer.start()
            await consumer._client._wait_on_metadata(topic)
            places = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(places)
            offsets = await asyncio.gather(*(consumer.committed(place) for place in places))
        return {place.partition: offset for place, offset in zip(places, offsets, strict=True)}
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"{type(error).__name__}: {error}") from error
    finally:
        await consumer.stop()
