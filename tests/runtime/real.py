"""Real servers for this folder's tests and the runtime's conformance suites; every test has names of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.topics import INBOX, LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from deploy.local.ports import assigned
from deploy.local.redis_server import find_redis_server
from deploy.local.stack import Stack
from operations.endpoints import Endpoints
from orchestrator.runtime.group_start_kafka import commit_start
from orchestrator.runtime.groups import ENGINE_GROUP

START_SECONDS_MAX = 20.0
STARTS_MAX = 5
SLOTS = 16_384


@functools.cache
def shared_endpoints() -> Endpoints:
    """One Kafka and one Redis: started on first use, stopped and erased when the test process ends."""
    folder = tempfile.mkdtemp(prefix="counterpoint-runtime-")
    stack = Stack(folder)
    endpoints = stack.up(only=("kafka", "redis-orchestrator"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stack.down)
    return endpoints


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:8]}"


async def create_topics(kafka: str, topics: Mapping[str, int]) -> None:
    """`topics`: name -> partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        settings = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(name, count, 1, topic_configs=settings) for name, count in topics.items()])
    finally:
        await admin.close()


@contextmanager
def lab_stack(folder: Path) -> Iterator[Endpoints]:
    """A Kafka and a Redis of one's own, ready for an engine and the participants of the lab's sagas."""
    stack = Stack(folder)
    endpoints = stack.up(only=("kafka", "redis-orchestrator"))
    try:
        asyncio.run(_prepare_lab(endpoints.kafka))
        yield endpoints
    finally:
        stack.down()


async def _prepare_lab(kafka: str) -> None:
    await create_topics(kafka, {INBOX: SHARDS, LIFECYCLE: 1, ORCHESTRATOR_DEAD_LETTERS: 1, "lab.commands": 2})
    await commit_start(kafka, ENGINE_GROUP, INBOX)


@contextmanager
def private_redis(*options: str, cluster: bool = False) -> Iterator[str]:
    """The URL of a Redis of one's own. `cluster`: one node that serves all slots."""
    with tempfile.TemporaryDirectory(prefix="runtime-") as folder:
        process, port = _started(folder, options, cluster)
        try:
            if cluster:
                _form_cluster(port)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _started(folder: str, options: tuple[str, ...], cluster: bool) -> tuple[subprocess.Popen[bytes], int]:
    """A node of a cluster listens on its port + 10,000 as well, where any outgoing connection may be."""
    for _ in range(STARTS_MAX):
        with assigned({}, {}, {}) as ports:
            port = ports["sandbox"]
            command = [find_redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
            command += ["--appendonly", "yes", "--maxmemory-policy", "noeviction", *options]
            if cluster:
                command += ["--cluster-enabled", "yes"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            if _answers(process, port):
                return process, port
    raise AssertionError("redis-server does not start")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """False: the process ended before it answered."""
    give_up = time.monotonic() + START_SECONDS_MAX
    with redis.Redis(port=port) as client:
        while process.poll() is None:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                assert time.monotonic() < give_up, "redis-server does not answer"
                time.sleep(0.02)
    return False


def _form_cluster(port: int) -> None:
    give_up = time.monotonic() + START_SECONDS_MAX
    with redis.Redis(port=port) as client:
        client.execute_command("CLUSTER ADDSLOTS", *range(SLOTS))
        while client.cluster("INFO").get("cluster_state") != "ok":
            assert time.monotonic() < give_up, "the cluster does not form"
            time.sleep(0.02)
