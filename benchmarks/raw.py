"""The raw figure: the records of N orders carried through the same topics by bare aiokafka consumers and producers.

Two relays stand for the orchestrator and for the services; each reads, and writes what the real one would write in
number, topic and size, without looking into it. A header tells the stage. A fulfilled order is start, inbox,
3 commands, 3 outcomes, 3 inbox, dispatch, outcome, inbox, final event, 2 lifecycle events (17 records); a declined one
start, inbox, 3 commands, 3 outcomes, 3 inbox, 2 undos, 2 outcomes, 2 inbox, final event, 3 lifecycle events (21). What
inventory tells of its stock beside that is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.peers.flow import is_declined
from contracts import topics
from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from operations.collector import settle_collector
from services.sdk.batches_kafka import Batch, batches_of, send_batches

LOOK_EVERY_S = 0.1
RELAY_RECORDS_MAX = 5_000
"""Records of one batch of a relay."""
BODY = b'{"order_id":"0","lines":[' + b'{"sku":"0000000","quantity":1,"unit_price_cents":100},' * 4 + b"{}]}"
HEADERS = [(f"ce_header{number}", b"0123456789abcdef0123456789abcdef") for number in range(9)]

Message = tuple[str, int, bytes, str]
"""Topic, partition, key, stage."""


@dataclass(frozen=True, slots=True)
class Relay:
    topics: tuple[str, ...]
    react: Callable[[str, bytes], Iterable[Message]]
    """Stage and key of a record that was read -> what is written."""


def _domain(key: bytes) -> int:
    return partition_of(key.decode(), topics.DOMAIN_PARTITIONS)


def _inbox(key: bytes) -> int:
    return partition_of(key.decode(), topics.SHARDS)


_FORWARDED = ("start", "reserved", "captured", "declined", "label", "dispatched", "voided", "released")


def _orchestrate(stage: str, key: bytes) -> Iterable[Message]:
    domain = _domain(key)
    if stage in _FORWARDED:
        yield topics.INBOX, _inbox(key), key, f"in-{stage}"
    elif stage == "in-start":
        yield "inventory.commands", domain, key, "reserve"
        yield "payment.commands", domain, key, "charge"
        yield "shipping.commands", domain, key, "create"
        yield topics.LIFECYCLE, domain, key, "started"
    elif stage == "in-label" and not _is_declined(key):
        yield "shipping.commands", domain, key, "dispatch"
    elif stage == "in-declined":
        yield "shipping.commands", domain, key, "void"
        yield "inventory.commands", domain, key, "release"
        yield topics.LIFECYCLE, domain, key, "compensating"
    elif stage in ("in-dispatched", "in-released"):
        yield "orders.events", domain, key, "end"
        yield topics.LIFECYCLE, domain, key, "ended"


def _is_declined(key: bytes) -> bool:
    return is_declined(int(key.rpartition(b"-")[2]))


_ANSWERS = {
    "reserve": ("inventory.events", "reserved"),
    "charge": ("payment.events", "captured"),
    "create": ("shipping.events", "label"),
    "dispatch": ("shipping.events", "dispatched"),
    "void": ("shipping.events", "voided"),
    "release": ("inventory.events", "released"),
}


def _serve(stage: str, key: bytes) -> Iterable[Message]:
    topic, answer = _ANSWERS[stage]
    if stage == "charge" and _is_declined(key):
        answer = "declined"
    yield topic, _domain(key), key, answer


ORCHESTRATOR = Relay(
    ("orders.events", "inventory.events", "payment.events", "shipping.events", topics.INBOX), _orchestrate
)
SERVICES = Relay(("inventory.commands", "payment.commands", "shipping.commands"), _serve)


async def _relay(kafka: str, relay: Relay, stop: asyncio.Event) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    producer = new_producer(kafka)
    await consumer.start()
    await producer.start()
    try:
        consumer.assign(partitions_of(relay.topics))
        while not stop.is_set():
            batches = await consumer.getmany(timeout_ms=100, max_records=RELAY_RECORDS_MAX)
            sent = []
            for records in batches.values():
                for record in records:
                    stage = record.headers[-1][1].decode()
                    for topic, partition, key, following in relay.react(stage, record.key):
                        headers = [*HEADERS, ("stage", following.encode())]
                        sent.append(await producer.send(topic, BODY, key, partition, headers=headers))
            if sent:
                await asyncio.gather(*sent)
    finally:
        await consumer.stop()
        await producer.stop()


def new_producer(kafka: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=256 * 1024
    )


def partitions_of(names: Iterable[str]) -> list[TopicPartition]:
    """Every partition of the topics, as `topics apply` has made them."""
    counts = {topics.INBOX: topics.SHARDS}
    return [
        TopicPartition(name, number) for name in names for number in range(counts.get(name, topics.DOMAIN_PARTITIONS))
    ]


def run_relay(kafka: str, which: str, seconds_max: float) -> None:
    """One relay, until it is ended (or `seconds_max` have passed). Target of a child process."""
    settle_collector()
    relay = ORCHESTRATOR if which == "orchestrator" else SERVICES

    async def bounded() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds_max, stop.set)
        await _relay(kafka, relay, stop)

    uvloop.run(bounded())


async def carry(kafka: str, orders: int, seconds_max: float, run: str) -> float:
    """Publish the starts and wait for all the ends; seconds taken. Raises TimeoutError."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="latest", enable_auto_commit=False)
    producer = new_producer(kafka)
    await consumer.start()
    await producer.start()
    try:
        before = await consumer.end_offsets(partitions_of([topics.LIFECYCLE]))
        batches = prepared(list(_starts(orders, run)), producer.create_batch)
        started = time.monotonic()
        async with asyncio.timeout(seconds_max):
            await send_batches(producer, batches)
            await wait_for_records(consumer, before, lifecycle_records_of(orders))
        return time.monotonic() - started
    finally:
        await consumer.stop()
        await producer.stop()


def _starts(orders: int, run: str) -> Iterator[OutgoingRecord]:
    headers = (*HEADERS, ("stage", b"start"))
    for number in range(orders):
        key = f"{run}-{number}".encode()
        yield OutgoingRecord("orders.events", key, BODY, headers, _domain(key))


def prepared(records: Sequence[OutgoingRecord], new_builder: Callable[[], BatchBuilder]) -> list[Batch]:
    """As they are sent: encoded, in batches. Every record names its partition."""
    return batches_of(records, [record.partition or 0 for record in records], new_builder)


def lifecycle_records_of(orders: int) -> int:
    """What `orders` orders leave on the lifecycle topic: started, completed; or started, compensating, compensated."""
    return sum(3 if is_declined(number) else 2 for number in range(orders))


async def wait_for_records(consumer: AIOKafkaConsumer, before: Mapping[TopicPartition, int], count: int) -> None:
    """Until so many more stand there than `before`. Asks for offsets alone: reading them would use the processor that
    the measured programs need."""
    wanted = sum(before.values()) + count
    while True:
        if sum((await consumer.end_offsets(list(before))).values()) >= wanted:
            return
        await asyncio.sleep(LOOK_EVERY_S)
