"""Reading dead letters from Kafka: a bounded scan, without a consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.record import IncomingRecord
from orchestrator.cli.letters import SUFFIX

REQUEST_TIMEOUT_MS = 10_000
POLL_MS = 1_000
EMPTY_POLLS_MAX = 5
"""The rest is taken for compacted or gone after so many polls without a record."""


@asynccontextmanager
async def open_letters(kafka: str) -> AsyncIterator[KafkaLetterBox]:
    """Raises the client's KafkaError: Kafka is away."""
    places = await _places(kafka)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    await consumer.start()
    try:
        yield KafkaLetterBox(consumer, places)
    finally:
        await consumer.stop()


async def _places(kafka: str) -> tuple[TopicPartition, ...]:
    """Every partition of every dead-letter topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.endswith(SUFFIX)]
        described = await admin.describe_topics(names) if names else []
    finally:
        await admin.close()
    return tuple(
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    )


class KafkaLetterBox:
    def __init__(self, consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
        self._consumer = consumer
        self._places = places

    async def newest(self, per_partition: int) -> Sequence[IncomingRecord]:
        starts, ends = await self._bounds(self._places)
        wanted = {
            place: (max(starts[place], ends[place] - per_partition), ends[place])
            for place in self._places
            if ends[place] > starts[place]
        }
        return await self._read(wanted)

    async def one(self, topic: str, partition: int, offset: int) -> IncomingRecord | None:
        place = TopicPartition(topic, partition)
        if place not in self._places:
            return None
        starts, ends = await self._bounds([place])
        if not starts[place] <= offset < ends[place]:
            return None
        records = await self._read({place: (offset, offset + 1)})
        return next((record for record in records if record.offset == offset), None)

    async def _bounds(
        self, places: Sequence[TopicPartition]
    ) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]]:
        if not places:
            return {}, {}
        return await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)

    async def _read(self, wanted: Mapping[TopicPartition, tuple[int, int]]) -> list[IncomingRecord]:
        """The records of each place from the first offset to before the second."""
        if not wanted:
            return []
        self._consumer.assign(list(wanted))
        for place, (first, _) in wanted.items():
            self._consumer.seek(place, first)
        open_places, found, empty = set(wanted), list[IncomingRecord](), 0
        while open_places and empty < EMPTY_POLLS_MAX:
            batches = await self._consumer.getmany(*open_places, timeout_ms=POLL_MS)
            empty = 0 if batches else empty + 1
            for place, batch in batches.items():
                end = wanted[place][1]
                found += [_incoming(record) for record in batch if record.offset < end]
                if batch and batch[-1].offset >= end - 1:
                    open_places.discard(place)
        return found


def _incoming(record: Any) -> IncomingRecord:
    return IncomingRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple((name, value if value is not None else b"") for name, value in record.headers),
    )
