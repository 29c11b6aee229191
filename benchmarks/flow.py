"""The real thing under load: orders in at full speed or at a rate, until every process has ended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.orders import order_record
from benchmarks.raw import new_producer, partitions_of
from contracts.process import ProcessCompleted
from contracts.topics import LIFECYCLE

PUBLISH_BATCH = 2_000
ENDS = ("process-completed", "process-compensated", "process-cancelled")


@dataclass(frozen=True, slots=True)
class FlowResult:
    """`took_ms`: of every process, ascending."""

    seconds: float
    completed: int
    took_ms: tuple[int, ...]


async def run_orders(kafka: str, orders: int, run: str, *, seconds_max: float, rate: float | None = None) -> FlowResult:
    """Publish `orders` (at `rate` a second, or as fast as it goes) and wait until all have ended.

    Times are the broker's append times: from the order's record to the record of the process's end.

    Raises:
        TimeoutError: not all had ended after `seconds_max`.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="latest", enable_auto_commit=False)
    producer = new_producer(kafka)
    await consumer.start()
    await producer.start()
    try:
        consumer.assign(partitions_of([LIFECYCLE]))
        await consumer.seek_to_end()
        async with asyncio.timeout(seconds_max):
            started = time.monotonic()
            publishing = asyncio.create_task(_publish(producer, orders, run, rate))
            ends = await _watch(consumer, orders, run)
            seconds = time.monotonic() - started
            starts = await publishing
    finally:
        await consumer.stop()
        await producer.stop()
    took = tuple(sorted(at - starts[order] for order, (at, _) in ends.items()))
    return FlowResult(seconds, sum(done for _, done in ends.values()), took)


async def _publish(producer: AIOKafkaProducer, orders: int, run: str, rate: float | None) -> dict[str, int]:
    """Order id -> append time in ms."""
    starts: dict[str, int] = {}
    pending: list[tuple[str, asyncio.Future[object]]] = []
    began = time.monotonic()
    for number in range(orders):
        if rate is not None:
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        record = order_record(number, run)
        future = await producer.send(
            record.topic, record.value, record.key, record.partition, headers=list(record.headers)
        )
        pending.append((f"{run}-{number}", future))
        if len(pending) >= PUBLISH_BATCH:
            starts.update(await _acked(pending))
            pending.clear()
    starts.update(await _acked(pending))
    return starts


async def _acked(pending: list[tuple[str, asyncio.Future[object]]]) -> dict[str, int]:
    acks = await asyncio.gather(*(future for _, future in pending))
    return {order: ack.timestamp for (order, _), ack in zip(pending, acks, strict=True)}  # type: ignore[attr-defined]  # aiokafka is untyped


async def _watch(consumer: AIOKafkaConsumer, orders: int, run: str) -> dict[str, tuple[int, bool]]:
    """Order id -> (append time of its end in ms, whether it was completed)."""
    ends: dict[str, tuple[int, bool]] = {}
    prefix = f"order-fulfilment:{run}-"
    while len(ends) < orders:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                process = record.key.decode()
                if not process.startswith(prefix):
                    continue
                kind = next(value for name, value in record.headers if name == "ce_type").decode()
                if kind.split(".")[1] in ENDS:
                    order = process.partition(":")[2]
                    ends.setdefault(order, (record.timestamp, kind == ProcessCompleted.type))
    return ends
