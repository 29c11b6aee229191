"""The audit's log on Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.record import IncomingRecord
from orchestrator.runtime.log import LogUnavailable, Place

REQUEST_TIMEOUT_MS = 10_000
POLL_MS = 1_000
EMPTY_POLLS_MAX = 10
"""The broker is taken for away after so many polls in a row without a record."""


@asynccontextmanager
async def open_audit_log(kafka: str) -> AsyncIterator[KafkaAuditLog]:
    """Raises the client's KafkaError: Kafka is away."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        await consumer.start()
        try:
            yield KafkaAuditLog(consumer, admin)
        finally:
            await consumer.stop()
    finally:
        await admin.close()


class KafkaAuditLog:
    """Implements AuditLog."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._consumer = consumer
        self._admin = admin

    async def bounds(self, topic: str) -> Mapping[Place, tuple[int, int]]:
        try:
            places = await self._places((topic,))
            starts = await self._consumer.beginning_offsets(places)
            ends = await self._consumer.end_offsets(places)
        except (KafkaError, OSError) as error:
            raise LogUnavailable(repr(error)) from error
        return {Place(place.topic, place.partition): (starts[place], ends[place]) for place in places}

    async def committed(self, group: str, topic: str) -> Mapping[Place, int]:
        try:
            found = await self._admin.list_consumer_group_offsets(group)
        except (KafkaError, OSError) as error:
            raise LogUnavailable(repr(error)) from error
        return {
            Place(place.topic, place.partition): at.offset
            for place, at in found.items()
            if place.topic == topic and at.offset >= 0
        }

    async def records(self, topics: Collection[str], since_ms: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        try:
            ends = await self._seek(topics, since_ms)
            empty = 0
            while ends:
                batches = await self._consumer.getmany(*ends, timeout_ms=POLL_MS)
                empty = 0 if batches else empty + 1
                if empty >= EMPTY_POLLS_MAX:
                    raise LogUnavailable(f"{len(ends)} partitions cannot be read to their end")
                for place, batch in batches.items():
                    yield [_incoming(record) for record in batch]
                    if batch and batch[-1].offset >= ends[place] - 1:
                        del ends[place]
                        self._consumer.pause(place)
        except (KafkaError, OSError) as error:
            raise LogUnavailable(repr(error)) from error

    async def _seek(self, topics: Collection[str], since_ms: int) -> dict[TopicPartition, int]:
        """Begin where the time says; the log ends of those places where there is anything to read."""
        places = await self._places(topics)
        ends = await self._consumer.end_offsets(places)
        starts = await self._consumer.offsets_for_times(dict.fromkeys(places, max(since_ms, 0)))
        wanted = {
            place: ends[place] for place in places if starts[place] is not None and starts[place].offset < ends[place]
        }
        self._consumer.assign(list(wanted))
        for place in wanted:
            self._consumer.seek(place, starts[place].offset)
        return wanted

    async def _places(self, topics: Collection[str]) -> list[TopicPartition]:
        described = await self._admin.describe_topics(sorted(topics))
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]


def _incoming(record: Any) -> IncomingRecord:
    return IncomingRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple((name, value or b"") for name, value in record.headers),
    )
