"""The first start on an empty inbox, whoever comes first."""

from __future__ import annotations

import asyncio

import pytest

from contracts.record import OutgoingRecord
from orchestrator.runtime.group_start_kafka import commit_start
from orchestrator.runtime.log import Place
from orchestrator.runtime.log_kafka import KafkaLog
from tests.conformance.runtime_log_test import Ears, until
from tests.runtime.real import create_topics, shared_endpoints, unique

pytestmark = pytest.mark.stack


async def test_empty_partitions_get_an_offset_and_used_ones_are_left_alone() -> None:
    kafka = (await asyncio.to_thread(shared_endpoints)).kafka
    topic, group = unique("inbox"), unique("group")
    await create_topics(kafka, {topic: 3})
    log = KafkaLog(kafka, unique("one"))
    appender = await log.appender()
    await appender.append([OutgoingRecord(topic, b"k", b"v", (), 1)])
    await appender.close()

    await commit_start(kafka, group, topic)
    await commit_start(kafka, group, topic)

    ears = Ears()
    subscription = await log.subscribe(group, frozenset((topic,)), ears, "claimed")
    await until(subscription, lambda: bool(ears.places))
    found = await subscription.committed(ears.places)
    assert found == {Place(topic, 0): 0, Place(topic, 1): None, Place(topic, 2): 0}

    late = asyncio.create_task(commit_start(kafka, group, topic))
    await asyncio.wait((late,), timeout=0.5)
    assert late.done(), "nothing is missing on an empty partition"
    await subscription.close()


async def test_it_waits_for_the_members_that_are_at_work() -> None:
    kafka = (await asyncio.to_thread(shared_endpoints)).kafka
    topic, group = unique("inbox"), unique("group")
    await create_topics(kafka, {topic: 1})
    ears = Ears()
    subscription = await KafkaLog(kafka, unique("one")).subscribe(group, frozenset((topic,)), ears, "claimed")
    await until(subscription, lambda: bool(ears.places))

    late = asyncio.create_task(commit_start(kafka, group, topic))
    await asyncio.wait((late,), timeout=1.0)
    assert not late.done(), "a stranger may not commit for a group with members"
    assert await subscription.commit({Place(topic, 0): 0})
    async with asyncio.timeout(30):
        await late
    await subscription.close()
