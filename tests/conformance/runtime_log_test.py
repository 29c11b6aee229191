"""One suite for every adapter of the runtime's log: memory and Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from contracts.ids import partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import MESSAGE_BYTES_MAX
from orchestrator.runtime.log import Ack, AppendRefused, Log, Place, PositionLost, Start, Subscription
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.log_memory import MemoryLog
from tests.runtime.real import create_topics, shared_endpoints, unique

LIMIT_S = 60.0
PARTITIONS = 6


@dataclass
class Ground:
    log: Log
    another: Callable[[], Log]
    """A second program on the same log."""
    topic: str
    group: str
    opened: list[Subscription] = field(default_factory=list)

    async def subscribe(
        self, start: Start = "committed", ears: Ears | None = None, log: Log | None = None
    ) -> Subscription:
        subscription = await (log or self.log).subscribe(self.group, frozenset((self.topic,)), ears, start)
        self.opened.append(subscription)
        return subscription

    async def append(self, *records: OutgoingRecord) -> Sequence[Ack]:
        appender = await self.log.appender()
        try:
            return await appender.append(records)
        finally:
            await appender.close()

    def record(self, value: str, key: str | None = "k", partition: int | None = None) -> OutgoingRecord:
        headers = (("ce_id", value.encode()), ("ce_type", b"t"))
        return OutgoingRecord(self.topic, key.encode() if key else None, value.encode(), headers, partition)


@dataclass
class Ears:
    """A membership that notes what it hears."""

    places: frozenset[Place] = frozenset()
    revocations: int = 0

    def assigned(self, places: frozenset[Place]) -> None:
        self.places = places

    async def revoked(self, places: frozenset[Place]) -> None:
        assert places == self.places
        self.places = frozenset()
        self.revocations += 1


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    topic, group = unique("log"), unique("group")
    if request.param == "memory":
        memory = MemoryLog({topic: PARTITIONS}, lambda: time.time_ns() // 1_000_000)
        found = Ground(memory, lambda: memory, topic, group)
    else:
        kafka = (await asyncio.to_thread(shared_endpoints)).kafka
        await create_topics(kafka, {topic: PARTITIONS})
        found = Ground(KafkaLog(kafka, unique("one")), lambda: KafkaLog(kafka, unique("other")), topic, group)
    yield found
    for subscription in found.opened:
        await subscription.close()


async def until(subscription: Subscription, condition: Callable[[], bool]) -> list[IncomingRecord]:
    """Poll until the condition holds; returns what came meanwhile."""
    found: list[IncomingRecord] = []
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            for records in (await subscription.poll(100)).values():
                found.extend(records)
    return found


async def take(subscription: Subscription, count: int) -> list[IncomingRecord]:
    found: list[IncomingRecord] = []
    async with asyncio.timeout(LIMIT_S):
        while len(found) < count:
            for records in (await subscription.poll(100)).values():
                found.extend(records)
    return found


async def test_acks_say_where_records_are(ground: Ground) -> None:
    keyed, placed, keyless = await ground.append(
        ground.record("a", key="order-1"), ground.record("b", partition=3), ground.record("c", key=None)
    )
    assert keyed.place == Place(ground.topic, partition_of("order-1", PARTITIONS))
    assert placed.place == Place(ground.topic, 3)
    assert 0 <= keyless.place.partition < PARTITIONS
    for ack in (keyed, placed, keyless):
        assert ack.timestamp_ms is not None and abs(ack.timestamp_ms - time.time() * 1000) < 600_000


async def test_records_arrive_as_they_were_sent(ground: Ground) -> None:
    (ack,) = await ground.append(ground.record("ä", partition=2))
    (record,) = await take(await ground.subscribe(), 1)

    assert record == IncomingRecord(
        ground.topic, 2, 0, record.timestamp_ms, b"k", "ä".encode(), (("ce_id", "ä".encode()), ("ce_type", b"t"))
    )
    assert record.timestamp_ms == ack.timestamp_ms


async def test_order_is_kept_over_appends_and_over_full_batches(ground: Ground) -> None:
    appender = await ground.log.appender()
    padding = "x" * 60_000
    values = [f"{number}:{padding}" for number in range(30)]
    first = await appender.append([ground.record(value, partition=1) for value in values[:20]])
    second = await appender.append([ground.record(value, partition=1) for value in values[20:]])
    await appender.close()

    assert [ack.offset for ack in (*first, *second)] == list(range(30))
    records = await take(await ground.subscribe(), 30)
    assert [record.value.decode() for record in records if record.value] == values


async def test_a_record_that_the_log_never_takes_is_named_and_the_next_append_is_clean(ground: Ground) -> None:
    if isinstance(ground.log, MemoryLog):
        ground.log.faults.refused_types.add("too-large")
    large = OutgoingRecord(ground.topic, b"k", b"x" * (2 * MESSAGE_BYTES_MAX), (("ce_type", b"too-large"),), 0)
    appender = await ground.log.appender()
    with pytest.raises(AppendRefused) as refused:
        await appender.append([ground.record("a", partition=1), large, ground.record("b", partition=1)])
    assert refused.value.index == 1

    (ack,) = await appender.append([ground.record("c", partition=2)])
    assert ack.offset == 0
    await appender.close()


async def test_claimed_places_stay_silent_until_their_owner_has_seeked(ground: Ground) -> None:
    await ground.append(*(ground.record(str(number), partition=4) for number in range(5)))
    ears = Ears()
    subscription = await ground.subscribe("claimed", ears)
    assert await until(subscription, lambda: len(ears.places) == PARTITIONS) == []
    assert await subscription.poll(300) == {}

    place = Place(ground.topic, 4)
    subscription.seek(place, 3)
    subscription.resume(frozenset((place,)))
    records = await take(subscription, 2)

    assert [record.offset for record in records] == [3, 4]
    subscription.pause(frozenset((place,)))
    await ground.append(ground.record("5", partition=4))
    assert await subscription.poll(300) == {}
    subscription.seek(place, 0)
    subscription.resume(frozenset((place,)))
    assert [record.offset for record in await take(subscription, 6)] == [0, 1, 2, 3, 4, 5]


async def test_a_position_beyond_the_log_is_lost(ground: Ground) -> None:
    await ground.append(ground.record("a", partition=0))
    ears = Ears()
    subscription = await ground.subscribe("claimed", ears)
    await until(subscription, lambda: bool(ears.places))
    place = Place(ground.topic, 0)
    subscription.seek(place, 99)
    subscription.resume(frozenset((place,)))

    with pytest.raises(PositionLost) as lost:
        await until(subscription, lambda: False)
    assert lost.value.places == {place}

    subscription.seek(place, 0)
    assert [record.offset for record in await take(subscription, 1)] == [0]


async def test_offsets_are_committed_by_hand_and_found_by_the_next_member(ground: Ground) -> None:
    place = Place(ground.topic, 5)
    await ground.append(*(ground.record(str(number), partition=5) for number in range(4)))
    ears = Ears()
    first = await ground.subscribe("committed", ears)
    await take(first, 4)
    assert await first.committed(frozenset((place,))) == {place: None}

    assert await first.commit({place: 2})
    assert await first.committed(frozenset((place,))) == {place: 2}
    assert await first.bounds(frozenset((place,))) == {place: (0, 4)}
    await first.close()
    assert ears.places == frozenset() and ears.revocations == 1

    second = await ground.subscribe()
    assert [record.offset for record in await take(second, 2)] == [2, 3]


async def test_nobody_commits_for_another(ground: Ground) -> None:
    ears = Ears()
    subscription = await ground.subscribe("committed", ears)
    await until(subscription, lambda: bool(ears.places))
    assert not await subscription.commit({Place(ground.topic, 99): 1})


async def test_two_members_share_the_places(ground: Ground) -> None:
    one, other = Ears(), Ears()
    first = await ground.subscribe("claimed", one)
    await until(first, lambda: len(one.places) == PARTITIONS)
    second = await ground.subscribe("claimed", other, ground.another())

    async with asyncio.timeout(LIMIT_S):
        while not (one.places and other.places and len(one.places | other.places) == PARTITIONS):
            await asyncio.gather(first.poll(50), second.poll(50))
    assert not one.places & other.places
    assert one.revocations >= 1

    lost = next(iter(other.places))
    first.seek(lost, 0)
    first.resume(frozenset((lost,)))
    assert not await first.commit({lost: 1})


async def test_lag_counts_what_is_still_to_come(ground: Ground) -> None:
    await ground.append(*(ground.record(str(number), partition=1) for number in range(3)))
    subscription = await ground.subscribe()
    await take(subscription, 3)
    assert subscription.lag() == 0
    assert subscription.problem is None


@pytest.mark.stack
async def test_kafka_away_is_a_problem_and_no_error() -> None:
    log = KafkaLog("127.0.0.1:1", "nobody")
    subscription = await log.subscribe("group", frozenset(("topic",)), None, "committed")
    async with asyncio.timeout(LIMIT_S):
        while "Kafka is away" not in (subscription.problem or ""):
            assert await subscription.poll(50) == {}
    await subscription.close()
