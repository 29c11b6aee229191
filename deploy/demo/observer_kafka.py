"""Reads topics as an outsider does: no consumer group, every partition, from the first record on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

from contracts.record import IncomingRecord

POLL_MS = 200
FETCH_WAIT_MS = 300
"""The broker collects for so long before it answers: watching must cost it little."""
FETCH_BYTES_MIN = 1024 * 1024


class Observer:
    """Runs as a task until it is cancelled; `quiet_seconds` tells how long nothing new has come."""

    def __init__(self, kafka: str, topics: Sequence[str], take: Callable[[IncomingRecord], None]) -> None:
        self._kafka = kafka
        self._topics = topics
        self._fold = take
        self._last_news = 0.0

    @property
    def quiet_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._last_news

    async def run(self, ready: asyncio.Event) -> None:
        """Sets `ready` once it reads."""
        consumer = AIOKafkaConsumer(
            *self._topics,
            bootstrap_servers=self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_min_bytes=FETCH_BYTES_MIN,
        )
        await consumer.start()
        try:
            self._last_news = asyncio.get_running_loop().time()
            ready.set()
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                self._take(record for batch in batches.values() for record in batch)
        finally:
            await consumer.stop()

    def _take(self, records: Iterable[Any]) -> None:
        for record in records:
            self._fold(incoming(record))
            self._last_news = asyncio.get_running_loop().time()


def incoming(record: Any) -> IncomingRecord:
    """The client's record as ours."""
    return IncomingRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple((name, value if value is not None else b"") for name, value in record.headers),
    )
