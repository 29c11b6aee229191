"""A `Reader` on Kafka: a consumer without a group, that leaves no trace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.record import IncomingRecord
from contracts.topics import INBOX_BYTES_MAX
from orchestrator.runtime.log import LogUnavailable, Place

REQUEST_LIMIT_S = 15.0
POLL_MS = 1_000
EMPTY_POLLS_MAX = 15
"""The broker is taken for away after so many polls in a row without progress."""
FETCH_WAIT_MS = 20
"""A fetch behind the end of a partition holds up all that is asked on the same connection for so long, and every read
ends with one: with the client's 500 ms a look at 64 shards took a minute and a half."""
RECORDS_MAX = 1_000
"""Of one batch."""
Result = TypeVar("Result")


class KafkaReader:
    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._consumer: AIOKafkaConsumer | None = None

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._servers,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                request_timeout_ms=int(REQUEST_LIMIT_S * 1000),
                max_partition_fetch_bytes=2 * INBOX_BYTES_MAX,
                fetch_max_wait_ms=FETCH_WAIT_MS,
            )
            try:
                await consumer.start()
            except BaseException:
                await _stop(consumer)
                raise
            self._consumer = consumer
        return self._consumer

    async def bounds(self, place: Place) -> tuple[int, int]:
        partition = TopicPartition(*place)
        consumer = await self._bounded(self._connected())
        starts = await self._bounded(consumer.beginning_offsets([partition]))
        ends = await self._bounded(consumer.end_offsets([partition]))
        return starts[partition], ends[partition]

    async def read(self, place: Place, start: int, end: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        partition = TopicPartition(*place)
        consumer = await self._bounded(self._connected())
        consumer.assign([partition])
        consumer.seek(partition, start)
        position, empty = start, 0
        while position < end:
            found = await self._bounded(consumer.getmany(partition, timeout_ms=POLL_MS, max_records=RECORDS_MAX))
            records = [
                IncomingRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                for r in found.get(partition, ())
                if r.offset < end
            ]
            if records:
                yield records
            before, position = position, await self._bounded(consumer.position(partition))
            empty = 0 if position > before else empty + 1
            if empty >= EMPTY_POLLS_MAX:
                raise LogUnavailable(f"{place.topic}/{place.partition} cannot be read from {position} to {end}")

    async def _bounded(self, call: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await asyncio.wait_for(call, REQUEST_LIMIT_S)
        except (KafkaError, TimeoutError, OSError) as error:
            await self.close()
            raise LogUnavailable(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with contextlib.suppress(Exception):
        await asyncio.wait_for(consumer.stop(), REQUEST_LIMIT_S)
