"""Reading the retained inbox from its start, without a consumer group: leaves no trace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.record import IncomingRecord
from contracts.topics import INBOX, SHARDS

REQUEST_TIMEOUT_MS = 10_000
POLL_MS = 1_000
EMPTY_POLLS_MAX = 10
"""The broker is taken for away after so many polls in a row without a record."""


@asynccontextmanager
async def open_retained(kafka: str) -> AsyncIterator[KafkaRetained]:
    """Raises the client's KafkaError: Kafka is away."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    await consumer.start()
    try:
        places = [TopicPartition(INBOX, number) for number in range(SHARDS)]
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        yield KafkaRetained(consumer, {place: (starts[place], ends[place]) for place in places})
    finally:
        await consumer.stop()


class KafkaRetained:
    """What was in the inbox when it was opened."""

    def __init__(self, consumer: AIOKafkaConsumer, bounds: dict[TopicPartition, tuple[int, int]]) -> None:
        self._consumer = consumer
        self._bounds = {place: (first, end) for place, (first, end) in bounds.items() if end > first}

    def size(self) -> int:
        return sum(end - first for first, end in self._bounds.values())

    async def batches(self) -> AsyncIterator[Sequence[IncomingRecord]]:
        """Raises TimeoutError: the broker does not hand out what it has."""
        if not self._bounds:
            return
        self._consumer.assign(list(self._bounds))
        for place, (first, _) in self._bounds.items():
            self._consumer.seek(place, first)
        open_places, empty = set(self._bounds), 0
        while open_places:
            batches = await self._consumer.getmany(*open_places, timeout_ms=POLL_MS)
            empty = 0 if batches else empty + 1
            if empty >= EMPTY_POLLS_MAX:
                raise TimeoutError(f"{len(open_places)} partitions of {INBOX} cannot be read to their end")
            for place, batch in batches.items():
                end = self._bounds[place][1]
                yield [
                    IncomingRecord(INBOX, place.partition, one.offset, one.timestamp, one.key, one.value, one.headers)
                    for one in batch
                    if one.offset < end
                ]
                if batch and batch[-1].offset >= end - 1:
                    open_places.discard(place)
                    self._consumer.pause(place)
