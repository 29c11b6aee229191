"""What a fault can do: one stack with its programs, and the outside world around it. One scene serves many faults, one
after the other, as long as everything reconciles.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
from aiokafka.admin import AIOKafkaAdminClient

from contracts.catalog import CONTEXTS
from contracts.record import IncomingRecord
from contracts.topics import LIFECYCLE, commands_topic, dead_letters_topic, events_topic
from deploy.chaos.crew import KINDS, Crew
from deploy.chaos.decisions import Decisions, is_decided
from deploy.chaos.load import OrderBook
from deploy.chaos.operator import Operator
from deploy.chaos.redis_faults import RedisServer
from deploy.demo.baskets import read_baskets
from deploy.demo.observation import Observation
from deploy.demo.observer_kafka import Observer
from deploy.local.errors import StackError
from deploy.local.site import INFRASTRUCTURE, SERVICES
from deploy.local.stack import Stack

SANDBOX_SECONDS = 10.0
CONTROL_SECONDS = 20.0
ADMIN_MS = 15_000


@dataclass(slots=True)
class Incident:
    """One fault under way. Times are of this machine's clock, in ms, which is also the broker's."""

    began_ms: int
    scale: float
    now_ms: Callable[[], int]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lifted_ms: int | None = None
    lost_inputs: dict[int, int | None] | None = None
    """After a recovery, by shard that lost inputs: how many at most (None: nobody knows). Orders whose start was among
    them are published again, as their publisher would do."""

    def note(self, text: str) -> None:
        """Tell what happened, for the report."""
        self.notes.append(text)

    def demand(self, holds: bool, sentence: str) -> None:
        """What must hold while the fault lasts."""
        if not holds:
            self.problems.append(sentence)

    def lift(self) -> None:
        """The fault is over: from here on everything may work again, as soon as it can. The first call counts."""
        if self.lifted_ms is None:
            self.lifted_ms = self.now_ms()

    async def last(self, seconds: float, at_least: float = 0.0) -> None:
        """Let the fault last for so long (scaled, but not below what makes it a fault)."""
        await asyncio.sleep(max(seconds * self.scale, at_least))


class Scene:
    """Use as `async with`: the stack is up, and everything runs once."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack = stack
        self.crew = Crew(stack.site)
        self.orchestrator_redis = RedisServer(stack, "redis-orchestrator")
        self.services_redis = RedisServer(stack, "redis-services")
        self.operator = Operator(stack.site.endpoints, stack.site.python)
        self.book = OrderBook(read_baskets(), seed)
        self.seen = Observation()
        self.decisions = Decisions()
        self.observer: Observer | None = None
        self._observing: asyncio.Task[None] | None = None
        self._frozen: set[str] = set()

    async def __aenter__(self) -> Scene:
        self.crew.sweep()
        try:
            await asyncio.to_thread(self._build)
            await self.apply_topics()
            await self.crew.start(*KINDS)
            await self._observe()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _build(self) -> None:
        self.stack.down()
        self.stack.erase()
        self.stack.up(only=INFRASTRUCTURE)

    async def close(self) -> None:
        """End everything. Data and logs stay."""
        if self._observing is not None:
            self._observing.cancel()
            await asyncio.gather(self._observing, return_exceptions=True)
        for name in tuple(self._frozen):
            self.thaw(name)
        await asyncio.to_thread(self.crew.close)
        await asyncio.to_thread(self.stack.down)

    # Kafka.

    @property
    def kafka(self) -> str:
        return self.stack.endpoints.kafka

    async def apply_topics(self) -> None:
        """Raises StackError."""
        said = await self.operator.run("topics", "apply")
        if said.code != 0:
            raise StackError("The topics could not be applied.", said.error)

    async def administer(self, work: Callable[[AIOKafkaAdminClient], Awaitable[object]]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka, request_timeout_ms=ADMIN_MS)
        await admin.start()
        try:
            await work(admin)
        finally:
            await admin.close()

    # Parts of the stack.

    async def kill(self, part: str) -> None:
        await asyncio.to_thread(self.stack.kill, part)

    async def start(self, part: str) -> None:
        """Start a part of the infrastructure and wait until it answers."""
        await asyncio.to_thread(self.stack.start, part)

    def freeze(self, part: str) -> None:
        """SIGSTOP: whoever talks to it waits for an answer that does not come, as behind a broken network."""
        self._frozen.add(part)
        os.kill(self.stack.endpoints.processes[part].pid, signal.SIGSTOP)

    def thaw(self, part: str) -> None:
        """SIGCONT."""
        self._frozen.discard(part)
        os.kill(self.stack.endpoints.processes[part].pid, signal.SIGCONT)

    # The outside world.

    async def misbehave(self, provider: str, **how: object) -> None:
        """Let a provider misbehave, as `POST /faults` of the sandbox takes it."""
        await self._sandbox("POST", {"provider": provider, **how})

    async def behave(self) -> None:
        """End all misbehaviour."""
        await self._sandbox("DELETE", None)

    async def _sandbox(self, method: str, body: dict[str, object] | None) -> None:
        sandbox = self.stack.endpoints.sandbox
        assert sandbox is not None, "a local stack has one"
        async with httpx.AsyncClient(base_url=sandbox, timeout=SANDBOX_SECONDS, trust_env=False) as client:
            (await client.request(method, "/faults", json=body)).raise_for_status()

    # What is seen.

    async def _observe(self) -> None:
        # Not the orchestrator's dead letters: a fault makes that topic anew, and nobody may read it meanwhile.
        topics = [topic for context in CONTEXTS for topic in (events_topic(context), commands_topic(context))]
        topics += [LIFECYCLE, *map(dead_letters_topic, SERVICES)]
        self.observer = Observer(self.kafka, topics, self._take)
        ready = asyncio.Event()
        self._observing = asyncio.create_task(self.observer.run(ready))
        await asyncio.wait_for(ready.wait(), SANDBOX_SECONDS)

    def _take(self, record: IncomingRecord) -> None:
        if is_decided(record.topic):
            self.decisions.take(record)
        if not record.topic.endswith(".commands"):
            self.seen.take(record)

    def check_observer(self) -> None:
        """Raises what ended the observer."""
        if self._observing is not None and self._observing.done():
            self._observing.result()


async def retried(work: Callable[[], Awaitable[object]]) -> None:
    """The broker takes a moment to notice that members have left, or that a topic is gone."""
    give_up = asyncio.get_running_loop().time() + CONTROL_SECONDS
    while True:
        try:
            await work()
        except Exception:
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(0.5)
        else:
            return
