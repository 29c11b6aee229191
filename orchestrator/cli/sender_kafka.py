"""Publishing to Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from contracts.record import OutgoingRecord
from orchestrator.cli.failures import Refused
from orchestrator.cli.ports import Appended

REQUEST_TIMEOUT_MS = 10_000
AWAY_ERRORS: tuple[type[Exception], ...] = (KafkaError,)
"""What the client raises when Kafka cannot be reached or does not answer."""


@asynccontextmanager
async def open_sender(kafka: str) -> AsyncIterator[KafkaSender]:
    """Raises the client's KafkaError: Kafka is away."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await producer.start()
    try:
        yield KafkaSender(producer)
    finally:
        await producer.stop()


class KafkaSender:
    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(self, records: Sequence[OutgoingRecord]) -> Sequence[Appended]:
        try:
            futures = [await self._start(record) for record in records]
            acks = [await future for future in futures]
        except MessageSizeTooLargeError as error:
            raise Refused(f"the broker does not take a message of that size: {error}") from None
        except UnknownTopicOrPartitionError:
            topics = ", ".join(sorted({record.topic for record in records}))
            raise Refused(f"there is no topic {topics}; counterpoint topics apply creates it") from None
        return [Appended(ack.topic, ack.partition, ack.offset, ack.timestamp) for ack in acks]

    async def _start(self, record: OutgoingRecord) -> Awaitable[Any]:
        headers = list(record.headers)
        started: Awaitable[Any] = await self._producer.send(
            record.topic, key=record.key, value=record.value, headers=headers, partition=record.partition
        )
        return started
