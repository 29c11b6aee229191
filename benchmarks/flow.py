"""The real thing under load: orders in at full speed or at a rate, until every process has ended.

Load and observer share the cores with what is measured, so they do as little as they can meanwhile. Orders are encoded
before the clock starts, at full speed into Kafka's batches; and nobody reads what happens: the length of the lifecycle
topic tells when all have ended, and who ended when is read after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.orders import order_record
from benchmarks.processor_time import Window
from benchmarks.raw import lifecycle_records_of, new_producer, partitions_of, prepared, wait_for_records
from contracts.process import ProcessCompleted
from contracts.record import OutgoingRecord
from contracts.topics import LIFECYCLE
from services.sdk.batches_kafka import Batch, send_batches

ENDS = ("process-completed", "process-compensated", "process-cancelled")


@dataclass(frozen=True, slots=True)
class FlowResult:
    """`seconds`: from the append of the first order to that of the last end. `took_ms`: of every process, ascending."""

    seconds: float
    completed: int
    took_ms: tuple[int, ...]


async def run_orders(
    kafka: str,
    orders: int,
    run: str,
    *,
    seconds_max: float,
    rate: float | None = None,
    window: Window | None = None,
) -> FlowResult:
    """Publish `orders` (at `rate` a second, or all at once) and wait until all have ended. `window` is opened before
    the first is sent, and closed when all have ended.

    Times are the broker's append times: from the order's record to the record of the process's end.

    Raises:
        TimeoutError: not all had ended after `seconds_max`.
    """
    records = [order_record(number, run) for number in range(orders)]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="latest", enable_auto_commit=False)
    producer = new_producer(kafka)
    await consumer.start()
    await producer.start()
    try:
        places = partitions_of([LIFECYCLE])
        before = await consumer.end_offsets(places)
        batches = prepared(records, producer.create_batch) if rate is None else []
        async with asyncio.timeout(seconds_max):
            if window is not None:
                window.open()
            if rate is None:
                await send_batches(producer, batches)
                appended = _append_times(batches, orders)
            else:
                appended = await _publish(producer, records, rate)
            await wait_for_records(consumer, before, lifecycle_records_of(orders))
            if window is not None:
                window.close()
            ends = await _ends(consumer, before, orders, run)
    finally:
        await consumer.stop()
        await producer.stop()
    took = tuple(sorted(at - appended[number] for number, (at, _) in ends.items()))
    seconds = (max(at for at, _ in ends.values()) - min(appended)) / 1000
    return FlowResult(seconds, sum(done for _, done in ends.values()), took)


def _append_times(batches: Sequence[Batch], orders: int) -> list[int]:
    """Of each order, in ms: that of its batch. Raises RuntimeError if one was not stored."""
    times = [0] * orders
    for batch in batches:
        if batch.failure is not None or batch.acknowledged is None:
            raise RuntimeError(f"orders were not stored: {batch.failure}")
        at: int = batch.acknowledged.result().timestamp  # type: ignore[attr-defined]  # aiokafka is untyped
        for number in batch.records:
            times[number] = at
    return times


async def _publish(producer: AIOKafkaProducer, records: Sequence[OutgoingRecord], rate: float) -> list[int]:
    """Append times of the orders, in ms."""
    began = time.monotonic()
    sent = []
    for number, record in enumerate(records):
        pause = began + number / rate - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        sent.append(
            await producer.send(record.topic, record.value, record.key, record.partition, headers=list(record.headers))
        )
    return [ack.timestamp for ack in await asyncio.gather(*sent)]


async def _ends(
    consumer: AIOKafkaConsumer, since: Mapping[TopicPartition, int], orders: int, run: str
) -> dict[int, tuple[int, bool]]:
    """Number of an order -> (append time of its end in ms, whether it was completed)."""
    consumer.assign(list(since))
    for place, offset in since.items():
        consumer.seek(place, offset)
    ends: dict[int, tuple[int, bool]] = {}
    prefix = f"order-fulfilment:{run}-"
    while len(ends) < orders:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                process = record.key.decode()
                if not process.startswith(prefix):
                    continue
                kind = next(value for name, value in record.headers if name == "ce_type").decode()
                if kind.split(".")[1] in ENDS:
                    ends.setdefault(int(process[len(prefix) :]), (record.timestamp, kind == ProcessCompleted.type))
    return ends
