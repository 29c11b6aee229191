"""One real Kafka and one real Redis for all of the SDK's tests in a session; every test has names of its own."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import uuid
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.stack import Stack
from operations.endpoints import Endpoints


@functools.cache
def shared_endpoints() -> Endpoints:
    """Started on first use, stopped and erased when the test process ends."""
    folder = tempfile.mkdtemp(prefix="counterpoint-sdk-")
    stack = Stack(folder)
    endpoints = stack.up(only=("kafka", "redis-services"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stack.down)
    return endpoints


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:8]}"


async def create_topics(kafka: str, topics: Sequence[str], partitions: int = 12) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        settings = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings) for topic in topics])
    finally:
        await admin.close()
