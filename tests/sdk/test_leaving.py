"""A replica that does not come back leaves its group when it ends; one that restarts keeps its place. Real broker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from services.sdk.kafka import KafkaBus
from services.sdk.ports import Place
from tests.conformance.test_sdk_bus import Ears, until
from tests.sdk.shared_stack import create_topics, shared_endpoints, unique

pytestmark = pytest.mark.stack


@dataclass
class Ground:
    kafka: str
    topic: str
    group: str


@pytest.fixture
async def ground() -> Ground:
    kafka = (await asyncio.to_thread(shared_endpoints)).kafka
    topic = unique("leaving")
    await create_topics(kafka, [topic])
    return Ground(kafka, topic, unique("group"))


async def members(ground: Ground) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=ground.kafka)
    await admin.start()
    try:
        (described,) = await admin.describe_consumer_groups([ground.group])
        return len(described.groups[0][5])
    finally:
        await admin.close()


@pytest.mark.parametrize(("leaves", "left"), [(True, 0), (False, 1)])
async def test_a_member_that_ends_leaves_only_if_it_was_told_so(ground: Ground, leaves: bool, left: int) -> None:
    bus = KafkaBus(ground.kafka, "leaving", leave_on_stop=leaves)
    ears = Ears()
    ears.subscription = bus.subscription(ground.group, "one", (ground.topic,))
    await ears.subscription.start(ears)
    await until(lambda: len(ears.places) == 12, ears.subscription)
    assert await members(ground) == 1

    await ears.subscription.close()

    assert await members(ground) == left
    await bus.close()


async def test_its_name_is_free_for_a_new_member(ground: Ground) -> None:
    bus = KafkaBus(ground.kafka, "leaving", leave_on_stop=True)
    for _ in range(2):
        ears = Ears()
        ears.subscription = bus.subscription(ground.group, "one", (ground.topic,))
        await ears.subscription.start(ears)
        await until(lambda: ears.places == frozenset(Place(ground.topic, at) for at in range(12)), ears.subscription)  # noqa: B023 - awaited here
        await ears.subscription.close()
    await bus.close()
