"""A burst meets a limit on real Kafka and Redis, with an engine and a clock that die in the middle of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from contracts.envelope import decode_headers
from contracts.record import IncomingRecord
from operations.endpoints import Endpoints
from orchestrator.engine.book import SagaBook
from orchestrator.engine.process import decode_process
from orchestrator.language import Concurrency, Rate
from orchestrator.language.limits import Limit
from orchestrator.runtime.clock import Clock
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.log import Appender
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.rules import Rules, rules_of
from orchestrator.runtime.store_redis import RedisStore
from orchestrator.testkit.lab import lab_saga, step
from tests.runtime.real import lab_stack, unique
from tests.runtime.test_children import answer
from tests.runtime.test_children_on_stack import start

pytestmark = pytest.mark.stack
LIMIT_S = 90.0
BURST = 24
WORK_S = 0.03
"""How long the provider holds a command."""


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    with lab_stack(tmp_path_factory.mktemp("limits")) as found:
        yield found


class Provider:
    """Works at each command for a while, at as many at once as are sent. A repeated command is answered again."""

    def __init__(self, endpoints: Endpoints, jobs: Sequence[str]) -> None:
        """`jobs`: whose commands it works at; others on the topic are left alone."""
        self._processes = {f"lab:{job}" for job in jobs}
        self._log = KafkaLog(endpoints.kafka, unique("provider"))
        self.sent_ms: dict[str, int] = {}
        """Append time of each command, by id, when it was first seen."""
        self.at_once_max = 0
        self._working: set[str] = set()

    async def run(self) -> None:
        subscription = await self._log.subscribe(unique("provider"), frozenset(("lab.commands",)), None, "committed")
        appender = await self._log.appender()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    for records in (await subscription.poll(50)).values():
                        ours = [one for one in records if decode_headers(one.headers).process_id in self._processes]
                        self._take(ours)
                        for record in ours:
                            group.create_task(self._work(record, appender))
        finally:
            await subscription.close()
            await appender.close()

    def _take(self, records: Sequence[IncomingRecord]) -> None:
        for record in records:
            command = decode_headers(record.headers).id
            if command not in self.sent_ms:
                self.sent_ms[command] = record.timestamp_ms
                self._working.add(command)
        self.at_once_max = max(self.at_once_max, len(self._working))

    async def _work(self, record: IncomingRecord, appender: Appender) -> None:
        await asyncio.sleep(WORK_S)
        self._working.discard(decode_headers(record.headers).id)
        await appender.append([answer(record, None)])


class Engines:
    """One engine and its clock at a time; `replace` is a crash: nothing more is stored."""

    def __init__(self, endpoints: Endpoints, rules: Rules) -> None:
        self._endpoints = endpoints
        self._rules = rules
        self._count = itertools.count(1)

    async def run(self, seconds: float | None) -> None:
        """Until cancelled, or for so long and then killed."""
        name, metrics, readiness = f"engine-{next(self._count)}", Metrics(CollectorRegistry()), Readiness()
        numbers = itertools.count()
        store, log = RedisStore(self._endpoints.redis.orchestrator), KafkaLog(self._endpoints.kafka, name)
        loop = EngineLoop(
            log, store, self._rules, metrics.engine, readiness, EngineSettings(unique(name)),
            new_id=lambda: f"{name}-{next(numbers)}",
        )  # fmt: skip
        clock = Clock(log, store, lambda: loop.ownership.owned, metrics.clock, readiness, name, time.monotonic)
        await loop.open()
        await clock.open()
        tasks = [asyncio.create_task(loop.run()), asyncio.create_task(clock.run())]
        try:
            await asyncio.wait(tasks, timeout=seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await clock.close()
            await loop.close()
            await store.close()


@asynccontextmanager
async def burst(endpoints: Endpoints, limit: Limit) -> AsyncIterator[Provider]:
    """So many processes start at once; the body runs when all have ended."""
    rules = rules_of(SagaBook([lab_saga(step("a", limit=limit))]))
    jobs = [unique("job") for _ in range(BURST)]
    provider, engines = Provider(endpoints, jobs), Engines(endpoints, rules)
    providing = asyncio.create_task(provider.run())
    appender = await KafkaLog(endpoints.kafka, "starter").appender()
    store = RedisStore(endpoints.redis.orchestrator)
    running: asyncio.Task[None] | None = None
    try:
        await appender.append([start(job) for job in jobs])
        await engines.run(seconds=1.5)
        running = asyncio.create_task(engines.run(seconds=None))
        async with asyncio.timeout(LIMIT_S):
            await _until_all_completed(store, jobs)
        assert len(provider.sent_ms) == BURST, "each is sent once"
        yield provider
    finally:
        for task in (providing, running):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (providing, running) if task), return_exceptions=True)
        await appender.close()
        await store.close()


async def _until_all_completed(store: RedisStore, jobs: Sequence[str]) -> None:
    while True:
        blobs = await store.blobs([f"lab:{job}" for job in jobs])
        if all(blob is not None and decode_process(blob).phase == "completed" for blob in blobs):
            return
        await asyncio.sleep(0.1)


async def test_a_burst_never_has_more_places_than_there_are(endpoints: Endpoints) -> None:
    async with burst(endpoints, Concurrency(3)) as provider:
        assert 1 <= provider.at_once_max <= 3


async def test_a_burst_is_spread_over_time(endpoints: Endpoints) -> None:
    """Eight of twenty-four at once, and eight in each second after that: delays can only make it longer."""
    async with burst(endpoints, Rate(8, per="second")) as provider:
        sent = sorted(provider.sent_ms.values())
        assert (sent[-1] - sent[0]) / 1000 >= (BURST - 1 - 8) / 8
