"""How long one hop takes: from the append of a record to the append of the record that answers it.

- router: an event -> the same message in the inbox
- engine: an input in the inbox -> a command that it caused
- service: a command -> its outcome

Times are the broker's append times, so of a millisecond's grain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer

from benchmarks.raw import partitions_of
from contracts.topics import INBOX

DOMAIN = (
    "orders.events",
    "inventory.commands",
    "inventory.events",
    "payment.commands",
    "payment.events",
    "shipping.commands",
    "shipping.events",
)
READ_SECONDS_MAX = 300.0


async def hop_times(kafka: str, since_ms: int) -> dict[str, list[int]]:
    """Milliseconds of every hop whose two records were appended from `since_ms` on, by kind. Raises TimeoutError."""
    async with asyncio.timeout(READ_SECONDS_MAX):
        domain = await _read(kafka, DOMAIN, since_ms)
        inbox = await _read(kafka, (INBOX,), since_ms)
    inbox_at = {headers["ce_id"]: at for headers, at in inbox}
    at_of = {headers["ce_id"]: at for headers, at in domain}
    found: dict[str, list[int]] = {"router": [], "engine": [], "service": []}
    for headers, at in domain:
        cause = headers.get("ce_causationid", "")
        if headers["ce_id"] in inbox_at:
            found["router"].append(inbox_at[headers["ce_id"]] - at)
        if "ce_idempotencykey" in headers:
            if cause in inbox_at:
                found["engine"].append(at - inbox_at[cause])
        elif cause in at_of:
            found["service"].append(at - at_of[cause])
    return found


async def _read(kafka: str, topics: tuple[str, ...], since_ms: int) -> list[tuple[Mapping[str, str], int]]:
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = partitions_of(topics)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        for partition in partitions:
            consumer.seek(partition, starts[partition].offset if starts[partition] else ends[partition])
        found: list[tuple[Mapping[str, str], int]] = []
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    found.append(({name: value.decode() for name, value in record.headers}, record.timestamp))
        return found
    finally:
        await consumer.stop()
