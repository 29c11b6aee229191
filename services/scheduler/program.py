"""Runs one replica until told to stop: `/metrics`, `/healthz`, `/readyz`; exit code 0 stopped, 1 refused to start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from operations.http import OperationsServer
from services.scheduler.announce import NAME
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.schedule import Schedule
from services.scheduler.scheduler import LEASE_S, MARGIN_S, Scheduler
from services.scheduler.store import ScheduleStore
from services.scheduler.store_redis import RedisStore
from services.sdk.failures import BusAwayError, StartRefused, StoreAwayError
from services.sdk.host import EXIT_REFUSED, EXIT_STOPPED, LoopHealth
from services.sdk.inbox_redis import open_redis
from services.sdk.kafka import KafkaBus
from services.sdk.surroundings import Surroundings, system_surroundings

START_PAUSE_S = 1.0
"""Between two attempts to reach what is away at the start."""
LEASE_S_MIN = MARGIN_S + 4.0

log = structlog.get_logger("services.scheduler")


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """`instance`: stable name among the replicas. `metrics_port`: 0 picks a free one."""

    kafka: str
    redis_url: str
    metrics_port: int
    instance: str
    lease_s: float = LEASE_S


async def run_program(schedules: Sequence[Schedule], settings: ProgramSettings) -> int:
    around = system_surroundings()
    registry = CollectorRegistry()
    async with AsyncExitStack() as stack:
        redis = open_redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        store = RedisStore(redis)

        def open_bus() -> KafkaBus:
            return KafkaBus(settings.kafka, f"counterpoint-{settings.instance}", around)

        scheduler = Scheduler(
            schedules,
            store,
            open_bus,
            around,
            SchedulerMetrics(registry),
            # A replica that was killed and started again must not be taken for what may be left of it.
            holder=f"{settings.instance} {around.token()}",
            lease_s=settings.lease_s,
        )
        stop = asyncio.Event()
        _on_signals(stop, scheduler)
        health = stack.enter_context(LoopHealth(around))
        server = OperationsServer(
            registry, health=health.problem, ready=lambda: scheduler.problem, port=settings.metrics_port
        )
        stack.enter_context(server)
        log.info("operations", url=server.url, schedules=len(schedules))
        try:
            await _checked(open_bus, store, schedules, stop, around)
        except StartRefused as error:
            log.error("refused to start", reason=str(error))
            return EXIT_REFUSED
        await scheduler.run()
        return EXIT_STOPPED


def _on_signals(stop: asyncio.Event, scheduler: Scheduler) -> None:
    loop = asyncio.get_running_loop()

    def stop_all() -> None:
        stop.set()
        scheduler.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_all)


async def _checked(
    open_bus: Callable[[], KafkaBus],
    store: ScheduleStore,
    schedules: Sequence[Schedule],
    stop: asyncio.Event,
    around: Surroundings,
) -> None:
    """Waits while Kafka or Redis is away. Raises StartRefused: a topic is missing, or Redis could lose what it took."""
    needed = sorted({schedule.event.topic for schedule in schedules})
    while not stop.is_set():
        bus = open_bus()
        try:
            for warning in await store.check():
                log.warning("store", detail=warning)
            found = await bus.partitions(needed)
        except (StoreAwayError, BusAwayError) as error:
            log.warning("waiting", detail=str(error))
            await around.sleep(START_PAUSE_S)
            continue
        finally:
            await bus.close()
        missing = [name for name in needed if name not in found]
        if missing:
            raise StartRefused(f"{NAME}: missing topics {', '.join(missing)}: run `counterpoint topics apply` first")
        return
