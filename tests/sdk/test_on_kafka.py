"""The whole SDK on real Kafka and Redis: load with repeats, crashes, rebalances, brokers and stores that go away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry

from contracts.catalog import Catalog
from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.message import Command, Event, Identifier
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.technical import CommandFailed
from deploy.local.stack import Stack
from operations.endpoints import Endpoints
from services.sdk import Delivery, Service
from services.sdk.host import EXIT_REFUSED, EXIT_STOPPED, HostSettings, host
from services.sdk.inbox_redis import RedisInbox, open_redis
from services.sdk.kafka import KafkaBus
from services.sdk.metrics import Metrics, ServiceMetrics
from services.sdk.patience import Patience
from services.sdk.runner import Runner
from services.sdk.start import needed_topics
from services.sdk.surroundings import system_surroundings
from services.sdk.wiring import Limits, Wiring
from tests.sdk.shared_stack import create_topics, shared_endpoints, unique

pytestmark = pytest.mark.stack
LIMIT_S = 90.0


@dataclass
class Provider:
    """Honours keys; notes every call."""

    effects: dict[str, int] = field(default_factory=dict)
    pause_s: float = 0.0

    async def act(self, key: str) -> None:
        self.effects.setdefault(key, 0)
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        self.effects[key] += 1


@dataclass
class World:
    """One service under names of its own, and a producer and a reader beside it."""

    endpoints: Endpoints
    name: str
    service: Service
    do: type[Command]
    provider: Provider
    bus: KafkaBus

    def has_effects(self, enough: int) -> bool:
        return len(self.provider.effects) >= enough

    def commands(self, numbers: Sequence[int]) -> list[OutgoingRecord]:
        return [self.command(number) for number in numbers]

    def command(self, number: int) -> OutgoingRecord:
        message = self.do.model_validate({"name": f"n{number}"})
        identity = f"saga:n{number}/do/1"
        envelope = Envelope(
            id=identity, source="/test", type=self.do.type, process_id=f"saga:n{number}", idempotency_key=identity
        )
        return OutgoingRecord(self.do.topic, message.key.encode(), message.to_json(), encode_headers(envelope))

    @asynccontextmanager
    async def running(self, instance: str = "one", limits: Limits | None = None) -> AsyncIterator[Runner]:
        """A runner; leaving the block without `stop` is a crash."""
        around = system_surroundings()
        redis = open_redis(self.endpoints.redis.services)
        bus = KafkaBus(self.endpoints.kafka, f"test-{instance}")
        metrics = ServiceMetrics(Metrics(CollectorRegistry()), self.name, frozenset(self.service.handlers))
        runner = Runner(
            Wiring(
                service=self.service,
                resources=[self.provider],
                inbox=RedisInbox(redis, self.name),
                bus=bus,
                metrics=metrics,
                patience=Patience(self.name, metrics, around),
                around=around,
                instance=instance,
                limits=limits or Limits(),
            )
        )
        task = asyncio.create_task(runner.run())
        try:
            yield runner
            if runner._stopping:
                await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await bus.close()
            await redis.aclose()

    async def published(self) -> list[IncomingRecord]:
        """Every record on the service's events topic."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.endpoints.kafka)
        await consumer.start()
        try:
            partitions = [TopicPartition(f"{self.name}.events", number) for number in range(12)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            total = sum((await consumer.end_offsets(partitions)).values())
            found: list[IncomingRecord] = []
            while len(found) < total:
                fetched = await consumer.getmany(timeout_ms=500)
                found.extend(
                    IncomingRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                    for records in fetched.values()
                    for r in records
                )
            return found
        finally:
            await consumer.stop()

    async def answers(self) -> dict[str, set[str]]:
        """Command id -> the ids under which it was answered."""
        found: dict[str, set[str]] = {}
        for record in await self.published():
            envelope = decode_headers(record.headers)
            found.setdefault(envelope.causation_id or "", set()).add(envelope.id)
        return found


@asynccontextmanager
async def world_on(endpoints: Endpoints) -> AsyncIterator[World]:
    name = unique("kafka")

    class Done(Event, type=f"{name}.done.v1"):
        name: Identifier

    class Do(Command, type=f"{name}.do.v1", succeeds=Done):
        name: Identifier

    service = Service(name, contexts=(name,), catalog=Catalog([Do, Done, CommandFailed]))

    async def do(command: Do, provider: Provider, delivery: Delivery) -> Done:
        await provider.act(delivery.idempotency_key)
        return Done(name=command.name)

    do.__annotations__ = {"command": Do, "provider": Provider, "delivery": Delivery, "return": Done}
    service.handles(Do, unfinished="repeat")(do)
    await create_topics(endpoints.kafka, needed_topics(service))
    bus = KafkaBus(endpoints.kafka, "test-producer")
    try:
        yield World(endpoints, name, service, Do, Provider(), bus)
    finally:
        await bus.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - conditions have no event of their own
            await asyncio.sleep(0.02)


def expect_each_once(answers: dict[str, set[str]], count: int) -> None:
    assert sorted(answers) == sorted(f"saga:n{number}/do/1" for number in range(count))
    assert {len(ids) for ids in answers.values()} == {1}, "one command, one id of its answer"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with world_on(await asyncio.to_thread(shared_endpoints)) as made:
        yield made


async def test_commands_with_repeats_are_answered_once_each(world: World) -> None:
    async with world.running() as runner:
        records = world.commands(range(500))
        await world.bus.publish(records)
        await world.bus.publish(records[::5])
        await until(lambda: runner.behind() == 0 and len(world.provider.effects) == 500)
        runner.stop()
    expect_each_once(await world.answers(), 500)
    assert set(world.provider.effects.values()) == {1}
    assert len(await world.published()) == 600


async def test_crashes_under_load(world: World) -> None:
    """Killed again and again while it works: every command answered under one id, nothing lost."""
    world.provider.pause_s = 0.01
    sending = asyncio.ensure_future(world.bus.publish(world.commands(range(1_000))))
    for enough in (50, 300, 600):
        async with world.running():
            await until(partial(world.has_effects, enough))
    await sending
    async with world.running() as runner:
        await until(lambda: runner.behind() == 0)
        runner.stop()
    expect_each_once(await world.answers(), 1_000)
    assert len(world.provider.effects) == 1_000


async def test_a_stop_leaves_nothing_to_do_again(world: World) -> None:
    async with world.running() as runner:
        await world.bus.publish(world.commands(range(100)))
        await until(lambda: len(world.provider.effects) == 100)
        runner.stop()
    before = len(await world.published())
    assert before == 100
    async with world.running() as runner:
        await until(lambda: runner.behind() == 0)
        runner.stop()
    assert len(await world.published()) == before
    assert set(world.provider.effects.values()) == {1}


async def test_replicas_come_and_go_under_load(world: World) -> None:
    world.provider.pause_s = 0.005
    sending = asyncio.ensure_future(world.bus.publish(world.commands(range(2_000))))
    async with world.running("one") as one:
        await until(lambda: len(world.provider.effects) > 200)
        async with world.running("two") as two:
            await until(lambda: two.behind() is not None and len(world.provider.effects) > 800)
            two.stop()
        await sending
        async with world.running("two") as two:
            await until(lambda: one.behind() == 0 and two.behind() == 0 and len(world.provider.effects) == 2_000)
            two.stop()
            one.stop()
    expect_each_once(await world.answers(), 2_000)
    assert max(world.provider.effects.values()) == 1, "a graceful hand-over repeats nothing"


@pytest.fixture(scope="module")
def private_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its parts may be stopped: nobody else uses it."""
    stack = Stack(tmp_path_factory.mktemp("sdk-faults"))
    stack.up(only=("kafka", "redis-services"))
    yield stack
    stack.down()


@pytest.mark.parametrize("part", ["redis-services", "kafka"])
async def test_what_goes_away_is_waited_out(private_stack: Stack, part: str) -> None:
    """Killed and brought back under load: readiness says so, no try is counted, nothing is lost or answered twice."""
    async with world_on(private_stack.endpoints) as world:
        world.provider.pause_s = 0.01
        await world.bus.publish(world.commands(range(2_000)))
        async with world.running() as runner:
            await until(lambda: len(world.provider.effects) > 200)
            await asyncio.to_thread(private_stack.kill, part)
            await until(lambda: runner.problem is not None or _bus_problem(runner) is not None)
            await asyncio.to_thread(private_stack.start, part)
            await until(lambda: runner.behind() == 0 and runner.problem is None)
            await until(lambda: len(world.provider.effects) == 2_000)
            runner.stop()
        expect_each_once(await world.answers(), 2_000)


def _bus_problem(runner: Runner) -> str | None:
    bus = runner._wiring.bus
    assert isinstance(bus, KafkaBus)
    return bus.problem


async def test_the_host_serves_until_it_is_told_to_stop(world: World) -> None:
    lines: list[str] = []

    @asynccontextmanager
    async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
        lines.append(f"open {settings.instance}")
        yield (world.provider,)
        lines.append("closed")

    world.service.connect = connect
    port = _free_port()
    settings = HostSettings(world.endpoints.kafka, world.endpoints.redis.services, port, "one")
    task = asyncio.create_task(host([world.service], settings))
    await world.bus.publish(world.commands(range(10)))
    await until(lambda: len(world.provider.effects) == 10)
    url = f"http://127.0.0.1:{port}"
    assert await asyncio.to_thread(_get, f"{url}/readyz") == "ok\n"
    assert await asyncio.to_thread(_get, f"{url}/healthz") == "ok\n"
    shown = await asyncio.to_thread(_get, f"{url}/metrics")
    assert f'counterpoint_automation_handled_total{{result="success",service="{world.name}"' in shown
    os.kill(os.getpid(), signal.SIGTERM)
    assert await task == EXIT_STOPPED
    assert lines == ["open one", "closed"]


async def test_the_host_refuses_what_it_cannot_do(world: World, caplog: pytest.LogCaptureFixture) -> None:
    settings = HostSettings(world.endpoints.kafka, world.endpoints.redis.services, 0, "one")
    # No resources: the handler's provider is missing.
    assert await host([world.service], settings) == EXIT_REFUSED
    stranger = Service(unique("stranger"))
    # Missing topics.
    assert await host([stranger], settings) == EXIT_REFUSED
    assert await host([], HostSettings("x", settings.redis_url, 0, "one", {"concurrency": "0"})) == EXIT_REFUSED


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
