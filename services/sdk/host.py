"""Hosts any set of services in one OS process: one consumer group each, one producer, one Redis client, one operations
server. SIGTERM and SIGINT finish what runs, commit, and end with exit code 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import CollectorRegistry

from operations.http import OperationsServer
from services.sdk.failures import RegistrationError, StartRefused
from services.sdk.inbox_redis import RedisInbox, open_redis
from services.sdk.inbox_retention import RETENTION_MS
from services.sdk.kafka import KafkaBus
from services.sdk.metrics import Metrics, ServiceMetrics
from services.sdk.patience import Patience
from services.sdk.runner import Runner
from services.sdk.service import Service
from services.sdk.surroundings import Surroundings, system_surroundings
from services.sdk.wiring import Limits, Wiring, check_resources

EXIT_STOPPED = 0
EXIT_REFUSED = 1
HOUR_MS = 60 * 60 * 1000

log = structlog.get_logger("services.sdk")


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What `connect(settings)` of every service gets, too.

    `options`: the host reads `concurrency` (messages at once, per service), `retention_hours` (dedupe),
    `accept_empty_store` (yes) and `leave_on_stop` (yes: this replica does not come back under its name); all others
    are the services' own.
    """

    kafka: str
    """Bootstrap servers."""
    redis_url: str
    """The services' Redis: a system of record."""
    metrics_port: int
    """0 picks a free one."""
    instance: str
    """Stable and unique among the replicas of a service."""
    options: Mapping[str, str] = field(default_factory=dict)


async def host(services: Sequence[Service], settings: HostSettings) -> int:
    """Run until told to stop. Returns the exit code: 0 stopped, 1 refused to start or to go on (logged in one line)."""
    async with AsyncExitStack() as stack:
        try:
            runners = await _runners(stack, services, settings)
        except (StartRefused, RegistrationError, ValueError) as error:
            log.error("refused to start", reason=str(error))
            return EXIT_REFUSED
        return await _run(runners)


def limits_of(options: Mapping[str, str]) -> Limits:
    """Raises ValueError for an option that is not a number."""
    default = Limits()
    concurrency = int(options.get("concurrency", default.concurrency))
    if concurrency < 1:
        raise ValueError(f"option concurrency is {concurrency}, not a positive number")
    return Limits(
        concurrency=concurrency,
        held_max=concurrency * default.held_max // default.concurrency,
        retention_ms=round(float(options.get("retention_hours", RETENTION_MS / HOUR_MS)) * HOUR_MS),
        accept_empty_store=options.get("accept_empty_store") == "yes",
    )


async def _runners(stack: AsyncExitStack, services: Sequence[Service], settings: HostSettings) -> list[Runner]:
    around = system_surroundings()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    redis = open_redis(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    leaves = settings.options.get("leave_on_stop") == "yes"
    bus = KafkaBus(settings.kafka, f"counterpoint-{settings.instance}", around, leave_on_stop=leaves)
    stack.push_async_callback(bus.close)
    limits = limits_of(settings.options)
    runners: list[Runner] = []
    for service in services:
        own = ServiceMetrics(metrics, service.name, frozenset(service.handlers))
        wiring = Wiring(
            service=service,
            resources=await stack.enter_async_context(service.connect(settings)),
            inbox=RedisInbox(redis, service.name, limits.retention_ms),
            bus=bus,
            metrics=own,
            patience=Patience(service.name, own, around),
            around=around,
            instance=settings.instance,
            limits=limits,
        )
        check_resources(wiring)
        runners.append(Runner(wiring))
    health = stack.enter_context(LoopHealth(around))
    server = OperationsServer(
        registry, health=health.problem, ready=lambda: _problem(bus, runners), port=settings.metrics_port
    )
    stack.enter_context(server)
    log.info("operations", url=server.url, services=[service.name for service in services])
    return runners


def _problem(bus: KafkaBus, runners: Sequence[Runner]) -> str | None:
    return bus.problem or next((runner.problem for runner in runners if runner.problem is not None), None)


async def _run(runners: Sequence[Runner]) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for runner in runners:
            runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        # One that must not go on takes the others with it: a supervisor sees an exit, not half a host.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        stop()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    failures = [error for error in ended if isinstance(error, BaseException)]
    for error in failures:
        if not isinstance(error, StartRefused):
            raise error
        log.error("refused to go on", reason=str(error))
    return EXIT_REFUSED if failures else EXIT_STOPPED


class LoopHealth:
    """Tells the operations thread whether the event loop still turns."""

    SILENT_MAX_S = 10.0
    BEAT_S = 1.0

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._beat_s = around.monotonic_s()
        self._task: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        silent_s = self._around.monotonic_s() - self._beat_s
        return None if silent_s < self.SILENT_MAX_S else f"the event loop has not turned for {silent_s:.0f} s"

    def __enter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            self._beat_s = self._around.monotonic_s()
            await asyncio.sleep(self.BEAT_S)
