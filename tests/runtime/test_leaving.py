"""An orchestrator that does not come back leaves its groups when it ends. On a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from orchestrator.runtime.log_kafka import KafkaLog
from tests.conformance.runtime_log_test import Ears, until
from tests.runtime.real import create_topics, shared_endpoints, unique

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(("leaves", "left"), [(True, 0), (False, 1)])
async def test_a_member_that_ends_leaves_only_if_it_was_told_so(leaves: bool, left: int) -> None:
    kafka = (await asyncio.to_thread(shared_endpoints)).kafka
    topic, group = unique("inbox"), unique("group")
    await create_topics(kafka, {topic: 3})
    ears = Ears()
    log = KafkaLog(kafka, unique("one"), leave_on_stop=leaves)
    subscription = await log.subscribe(group, frozenset((topic,)), ears, "claimed")
    await until(subscription, lambda: len(ears.places) == 3)

    await subscription.close()

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (described,) = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    assert len(described.groups[0][5]) == left
