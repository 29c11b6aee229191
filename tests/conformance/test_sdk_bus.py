"""One suite for every adapter of the bus: publishing, reading, groups, offsets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from contracts.ids import partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from services.sdk.failures import BusAwayError
from services.sdk.kafka import KafkaBus
from services.sdk.memory import MemoryBus
from services.sdk.ports import Bounds, Bus, Place, Subscription
from tests.sdk.shared_stack import create_topics, shared_endpoints, unique

LIMIT_S = 30.0


@dataclass
class Ground:
    bus: Bus
    topic: str
    other_topic: str
    group: str


@dataclass
class Ears:
    """A listener that notes what it hears and reads all it is given from the start."""

    subscription: Subscription | None = None
    places: frozenset[Place] = frozenset()
    revocations: int = 0
    begin: dict[Place, int] = field(default_factory=dict)

    async def revoked(self) -> None:
        self.revocations += 1
        self.places = frozenset()

    def assigned(self, places: frozenset[Place]) -> None:
        self.places = places

    def read(self) -> None:
        assert self.subscription is not None
        self.subscription.seek_and_resume({place: self.begin.get(place, 0) for place in self.places})


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    topics = [unique("bus"), unique("bus")]
    if request.param == "memory":
        yield Ground(MemoryBus(topics, lambda: time.time_ns() // 1_000_000), topics[0], topics[1], unique("group"))
        return
    kafka = (await asyncio.to_thread(shared_endpoints)).kafka
    await create_topics(kafka, topics)
    bus = KafkaBus(kafka, "conformance")
    yield Ground(bus, topics[0], topics[1], unique("group"))
    await bus.close()


def record(topic: str, key: str | None = "k", value: bytes = b"{}") -> OutgoingRecord:
    return OutgoingRecord(topic, None if key is None else key.encode(), value, (("ce_id", b"1"), ("odd", b"\xff")))


async def member(ground: Ground, name: str, topics: tuple[str, ...] | None = None) -> tuple[Subscription, Ears]:
    ears = Ears()
    ears.subscription = ground.bus.subscription(ground.group, name, topics or (ground.topic,))
    await ears.subscription.start(ears)
    return ears.subscription, ears


async def until(condition: Callable[[], object], *subscriptions: Subscription) -> list[IncomingRecord]:
    """Poll until the condition holds; what was read meanwhile."""
    found: list[IncomingRecord] = []
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            for subscription in subscriptions:
                found.extend(await subscription.poll(0.05))
    return found


async def read(subscription: Subscription, count: int) -> list[IncomingRecord]:
    found: list[IncomingRecord] = []
    async with asyncio.timeout(LIMIT_S):
        while len(found) < count:
            found.extend(await subscription.poll(0.1))
    return found


async def joined(ground: Ground, name: str = "one") -> tuple[Subscription, Ears]:
    subscription, ears = await member(ground, name)
    await until(lambda: ears.places, subscription)
    ears.read()
    return subscription, ears


async def test_partition_counts_of_topics_that_exist(ground: Ground) -> None:
    assert await ground.bus.partitions([ground.topic, "nowhere"]) == {ground.topic: 12}


async def test_a_record_comes_back_as_it_was_published(ground: Ground) -> None:
    subscription, _ = await joined(ground)
    before_ms = time.time_ns() // 1_000_000
    await ground.bus.publish([record(ground.topic, "order-1", b"value")])
    [got] = await read(subscription, 1)
    assert (got.topic, got.key, got.value, got.offset) == (ground.topic, b"order-1", b"value", 0)
    assert tuple(got.headers) == (("ce_id", b"1"), ("odd", b"\xff"))
    assert got.partition == partition_of("order-1", 12)
    assert before_ms - 1_000 <= got.timestamp_ms
    await subscription.close()


async def test_one_key_stays_in_order(ground: Ground) -> None:
    subscription, _ = await joined(ground)
    records = [record(ground.topic, f"k{n % 3}", str(n).encode()) for n in range(300)]
    await ground.bus.publish(records[:150])
    await ground.bus.publish(records[150:])
    got = await read(subscription, 300)
    for key in (b"k0", b"k1", b"k2"):
        numbers = [int(r.value or b"") for r in got if r.key == key]
        assert numbers == sorted(numbers)
        assert len(numbers) == 100
    await subscription.close()


async def test_many_publishers_at_once(ground: Ground) -> None:
    subscription, _ = await joined(ground)
    await asyncio.gather(
        *(ground.bus.publish([record(ground.topic, f"k{n}"), record(ground.topic, f"k{n}")]) for n in range(200))
    )
    assert len(await read(subscription, 400)) == 400
    await subscription.close()


async def test_keyless_and_binary_keys(ground: Ground) -> None:
    subscription, _ = await joined(ground)
    await ground.bus.publish([record(ground.topic, None), OutgoingRecord(ground.topic, b"\xff\xfe", b"{}", ())])
    assert {r.key for r in await read(subscription, 2)} == {None, b"\xff\xfe"}
    await subscription.close()


async def test_offsets_are_committed_by_hand_only(ground: Ground) -> None:
    subscription, ears = await joined(ground)
    await ground.bus.publish([record(ground.topic) for _ in range(5)])
    [*_, last] = await read(subscription, 5)
    assert await subscription.committed(ears.places) == {}
    place = Place(ground.topic, last.partition)
    await subscription.commit({place: 3})
    assert await subscription.committed(ears.places) == {place: 3}
    await subscription.close()


async def test_bounds_and_ends(ground: Ground) -> None:
    subscription, ears = await joined(ground)
    await ground.bus.publish([record(ground.topic) for _ in range(5)])
    await read(subscription, 5)
    place = Place(ground.topic, partition_of("k", 12))
    bounds = await subscription.bounds(ears.places)
    assert bounds[place] == Bounds(0, 5)
    assert set(bounds) == set(ears.places)
    assert subscription.ends(ears.places)[place] == 5
    await subscription.close()


async def test_offsets_by_time(ground: Ground) -> None:
    subscription, ears = await joined(ground)
    await ground.bus.publish([record(ground.topic)])
    await asyncio.sleep(0.05)
    [first] = await read(subscription, 1)
    await ground.bus.publish([record(ground.topic)])
    place = Place(ground.topic, first.partition)
    found = await subscription.offsets_at(ears.places, first.timestamp_ms + 1)
    assert found[place] == 1
    assert (await subscription.offsets_at(ears.places, first.timestamp_ms))[place] == 0
    later = await subscription.offsets_at(ears.places, first.timestamp_ms + 3_600_000)
    assert later[place] == 2
    await subscription.close()


async def test_seek_reads_again_and_pause_stops(ground: Ground) -> None:
    subscription, ears = await joined(ground)
    await ground.bus.publish([record(ground.topic, value=str(n).encode()) for n in range(4)])
    [first, *_] = await read(subscription, 4)
    place = Place(ground.topic, first.partition)
    subscription.pause(ears.places)
    await ground.bus.publish([record(ground.topic, value=b"4")])
    assert [r for _ in range(5) for r in await subscription.poll(0.05)] == []
    subscription.seek_and_resume({place: 2, Place("not-ours", 0): 7})
    assert [r.value for r in await read(subscription, 3)] == [b"2", b"3", b"4"]
    await subscription.close()


async def test_two_members_share_and_the_first_is_told(ground: Ground) -> None:
    one, ears_one = await joined(ground, "one")
    assert len(ears_one.places) == 12
    starting = asyncio.create_task(member(ground, "two"))
    await until(starting.done, one)
    two, ears_two = await starting
    await until(lambda: ears_two.places and ears_one.places and len(ears_one.places) < 12, one, two)
    assert ears_one.places | ears_two.places == {Place(ground.topic, n) for n in range(12)}
    assert not ears_one.places & ears_two.places
    assert ears_one.revocations >= 1
    ears_one.read()
    ears_two.read()
    await ground.bus.publish([record(ground.topic, f"k{n}") for n in range(100)])
    seen: list[IncomingRecord] = []
    async with asyncio.timeout(LIMIT_S):
        while len(seen) < 100:
            seen.extend(await one.poll(0.05))
            seen.extend(await two.poll(0.05))
    assert len({(r.partition, r.offset) for r in seen}) == 100
    strange = next(iter(ears_two.places))
    with pytest.raises(BusAwayError):
        await one.commit({strange: 1})
    await one.close()
    await two.close()


async def test_a_static_member_that_comes_back_goes_on_where_it_committed(ground: Ground) -> None:
    subscription, ears = await joined(ground)
    await ground.bus.publish([record(ground.topic) for _ in range(5)])
    await read(subscription, 5)
    place = Place(ground.topic, partition_of("k", 12))
    await subscription.commit({place: 5})
    await subscription.close()
    again, ears = await joined(ground)
    assert (await again.committed(ears.places))[place] == 5
    await again.close()


async def test_two_groups_each_read_all(ground: Ground) -> None:
    one, _ = await joined(ground)
    other = Ground(ground.bus, ground.topic, ground.other_topic, unique("group"))
    two, _ = await joined(other)
    await ground.bus.publish([record(ground.topic, f"k{n}") for n in range(20)])
    assert len(await read(one, 20)) == len(await read(two, 20)) == 20
    await one.close()
    await two.close()


async def test_several_topics(ground: Ground) -> None:
    subscription, ears = await member(ground, "one", (ground.topic, ground.other_topic))
    await until(lambda: ears.places, subscription)
    assert len(ears.places) == 24
    ears.read()
    await ground.bus.publish([record(ground.topic), record(ground.other_topic)])
    assert {r.topic for r in await read(subscription, 2)} == {ground.topic, ground.other_topic}
    await subscription.close()
