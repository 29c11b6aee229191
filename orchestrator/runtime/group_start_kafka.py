"""The first start: the engine's group is given the offset 0 while the inbox is still empty.

Redis and group offset both gone over a non-empty inbox mean that a shard must refuse (DESIGN section 2). On the very
first start both are missing too, and a router may append before an engine has claimed its shards. So every program
of the orchestrator makes sure, before it appends anything, that an empty inbox has group offsets. See
docs/decisions/0041.
"""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError

from orchestrator.runtime.backoff import Backoff

log = structlog.get_logger(__name__)

REQUEST_LIMIT_S = 15.0


async def commit_start(servers: str, group: str, topic: str) -> None:
    """Return once every empty partition of `topic` has an offset of `group`. Partitions that have had records are left
    alone: whether their offsets are missing is for the claim to judge.

    Waits while Kafka is away, and while members of the group are at work: they commit for themselves.
    """
    backoff = Backoff()
    while True:
        try:
            if await asyncio.wait_for(_try_commit(servers, group, topic), REQUEST_LIMIT_S):
                return
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the group's start waits for Kafka", group=group, error=repr(error))
        await asyncio.sleep(backoff.next_s())


async def _try_commit(servers: str, group: str, topic: str) -> bool:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        await consumer._client._wait_on_metadata(topic)
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        offsets = await asyncio.gather(*(consumer.committed(partition) for partition in partitions))
        ends = await consumer.end_offsets(partitions)
        new = {
            partition: 0
            for partition, at in zip(partitions, offsets, strict=True)
            if at is None and not ends[partition]
        }
        if new:
            await consumer.commit(new)
            log.info("the group starts at 0", group=group, partitions=len(new))
    except CommitFailedError:
        return False
    finally:
        await consumer.stop()
    return True
