"""Batches of the Kafka bus: order, fullness, and what is left when some of them fail. No broker needed."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from contracts.record import OutgoingRecord
from services.sdk.batches_kafka import Batch, batches_of, not_stored, send_batches

BATCH_BYTES = 1_000


def builder() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, 0, is_transactional=False)


def record(topic: str, text: str, size: int = 10) -> OutgoingRecord:
    return OutgoingRecord(topic, b"k", text.encode().ljust(size, b"."), (("ce_id", text.encode()),))


def contents(batch: Batch) -> list[str]:
    return [found.headers[0][1].decode() for found in DefaultRecordBatch(bytes(batch.builder._build()))]


class Producer:
    """Acknowledges, fails, forgets or refuses batches, by the name of their topic."""

    def __init__(self) -> None:
        self.sent: list[Batch] = []

    async def send_batch(self, builder: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if topic == "refused":
            raise KafkaError("refused")
        if topic == "failing":
            future.set_exception(KafkaError("lost"))
        elif topic != "silent":
            future.set_result(object())
        return future


def test_every_partition_keeps_its_order_and_a_full_batch_is_followed_by_another() -> None:
    records = [record("a", f"a{n}", 400) for n in range(5)] + [record("b", "b0"), record("a", "a5", 10)]
    batches = batches_of(records, [0, 0, 1, 0, 0, 0, 1], builder)

    by_place: dict[tuple[str, int], list[str]] = {}
    for batch in batches:
        by_place.setdefault((batch.topic, batch.partition), []).extend(contents(batch))
    assert by_place == {("a", 0): ["a0", "a1", "a3", "a4"], ("a", 1): ["a2", "a5"], ("b", 0): ["b0"]}
    assert len(batches) == 4
    assert sorted(number for batch in batches for number in batch.records) == list(range(7))


def test_a_record_larger_than_a_batch_has_one_of_its_own() -> None:
    records = [record("a", "small"), record("a", "large", 5 * BATCH_BYTES), record("a", "next")]
    batches = batches_of(records, [0, 0, 0], builder)
    assert [contents(batch) for batch in batches] == [["small"], ["large"], ["next"]]


async def test_only_what_failed_is_left_in_its_order() -> None:
    records = [record("failing", "f0"), record("good", "g0"), record("failing", "f1"), record("good", "g1")]
    batches = batches_of(records, [1, 0, 0, 0], builder)
    await send_batches(Producer(), batches)
    assert not_stored(records, batches) == [records[0], records[2]]
    assert "lost" in (batches[0].failure or "")


async def test_what_comes_after_a_refused_batch_is_left_too() -> None:
    records = [record("good", "g0"), record("refused", "r0"), record("good", "g1")]
    batches = batches_of(records, [0, 0, 1], builder)
    with pytest.raises(KafkaError, match="refused"):
        await send_batches(Producer(), batches)
    assert not_stored(records, batches) == [records[1], records[2]]
    assert [batch.failure for batch in batches] == [None, "not sent", "not sent"]


async def test_silence_and_cancellation_are_no_acknowledgement() -> None:
    records = [record("silent", "s0"), record("good", "g0")]
    batches = batches_of(records, [0, 0], builder)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await send_batches(Producer(), batches)
    assert not_stored(records, batches) == [records[0]]
    assert batches[0].failure == "no acknowledgement in time"
    assert batches[0].acknowledged is not None
    batches[0].acknowledged.cancel()
    await asyncio.sleep(0)
    assert batches[0].failure == "cancelled"
