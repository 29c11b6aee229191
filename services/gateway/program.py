"""Runs the gateway until told to stop: the HTTP server, the producer, the memory of keys and the operations server.

SIGTERM and SIGINT close the door, answer what is inside once Kafka has acknowledged it, and end with exit code 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from contracts.topics import INBOX
from operations.http import OperationsServer
from services.gateway.app import build_app
from services.gateway.declaration import Declaration
from services.gateway.gateway import (
    Gateway,
    GatewayLimits,
    checked_link_secrets,
    source_buckets,
    source_keys,
)
from services.gateway.intake import SERVICE, Intake
from services.gateway.keys_redis import RedisKeys
from services.gateway.metrics import GatewayMetrics
from services.gateway.publishing import Publisher
from services.gateway.rates import Buckets
from services.sdk.failures import BusAwayError, StartRefused, StoreAwayError
from services.sdk.host import EXIT_REFUSED, EXIT_STOPPED, LoopHealth
from services.sdk.inbox_redis import RedisInbox, open_redis
from services.sdk.kafka import KafkaBus
from services.sdk.surroundings import Surroundings, system_surroundings

STOP_LIMIT_S = 25
"""Above the longest wait of a request, body and acknowledgement together."""
PAUSE_S = 1.0
"""Between two attempts to reach what is away at the start, and between two looks at Redis."""
BACKLOG = 512

log = structlog.get_logger("services.gateway")


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """`secrets`: the environment and the file of secrets, of which only what the declaration names is read. `proxies`:
    addresses of proxies whose `X-Forwarded-For` is believed. `port` 0 picks a free one."""

    kafka: str
    redis_url: str
    declaration: Declaration
    host: str
    port: int
    metrics_port: int
    instance: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    link_secrets: Sequence[str] = ()
    allowed_origins: frozenset[str] = frozenset()
    proxies: Sequence[str] = ()
    limits: GatewayLimits = field(default_factory=GatewayLimits)


class Readiness:
    """Each is one line while something is away."""

    def __init__(self) -> None:
        self.store: str | None = "not started"
        self.topics: str | None = "not started"


class _Server(uvicorn.Server):
    """uvicorn ends the process by the signal that stopped it; ours has an exit code, and things to close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def run(settings: ProgramSettings) -> int:
    """Returns the exit code: 0 stopped, 1 refused to start (logged in one line)."""
    async with AsyncExitStack() as stack:
        try:
            return await _run(stack, settings)
        except (StartRefused, OSError) as error:
            log.error("refused to start", reason=str(error))
            return EXIT_REFUSED


async def _run(stack: AsyncExitStack, settings: ProgramSettings) -> int:
    around, registry, readiness = system_surroundings(), CollectorRegistry(), Readiness()
    link_secrets = checked_link_secrets(settings.link_secrets)
    keys = source_keys(settings.declaration, settings.secrets)
    stopping = _stop_on_signals(stack)
    redis = open_redis(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    bus = KafkaBus(settings.kafka, f"counterpoint-{settings.instance}", around)
    stack.push_async_callback(bus.close)
    publisher = Publisher(bus, lambda: bus.problem, settings.limits.publish_wait_s)
    stack.push_async_callback(publisher.close)
    gateway = Gateway(
        declaration=settings.declaration,
        intake=Intake(RedisKeys(redis), publisher, around),
        metrics=GatewayMetrics(registry, lambda: publisher.waiting),
        around=around,
        clients=Buckets(settings.limits.client_per_second, settings.limits.client_burst, around.monotonic_s),
        sources=source_buckets(settings.declaration, around),
        keys_of_sources=keys,
        limits=settings.limits,
        link_secrets=link_secrets,
        allowed_origins=settings.allowed_origins,
    )
    health = stack.enter_context(LoopHealth(around))
    operations = OperationsServer(
        registry,
        health=health.problem,
        ready=lambda: bus.problem or readiness.topics or readiness.store,
        port=settings.metrics_port,
    )
    stack.enter_context(operations)
    log.info("operations", url=operations.url)
    needed = _needed_topics(settings)
    if not await _wait_for_topics(bus, needed, readiness, around, stopping):
        return EXIT_STOPPED
    if not await _wait_for_store(RedisInbox(redis, SERVICE), readiness, around, stopping):
        return EXIT_STOPPED
    watch = asyncio.create_task(_watch_store(RedisKeys(redis), readiness, around))
    stack.callback(watch.cancel)
    await _serve(gateway, settings, stopping)
    return EXIT_STOPPED


def _stop_on_signals(stack: AsyncExitStack) -> asyncio.Event:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
        stack.callback(loop.remove_signal_handler, number)
    return stopping


def _needed_topics(settings: ProgramSettings) -> list[str]:
    topics = {message.topic for message in settings.declaration.messages()}
    return sorted(topics | ({INBOX} if settings.link_secrets else set()))


async def _wait_for_topics(
    bus: KafkaBus, needed: Sequence[str], readiness: Readiness, around: Surroundings, stopping: asyncio.Event
) -> bool:
    """False: told to stop meanwhile. Raises StartRefused if a topic is missing."""
    while not stopping.is_set():
        try:
            found = await bus.partitions(needed)
        except BusAwayError as error:
            _waiting("kafka", readiness.topics, str(error))
            readiness.topics = str(error)
            await around.sleep(PAUSE_S)
            continue
        missing = [name for name in needed if name not in found]
        if missing:
            raise StartRefused(f"gateway: missing topics {', '.join(missing)}: run `counterpoint topics apply` first")
        readiness.topics = None
        return True
    return False


async def _wait_for_store(
    inbox: RedisInbox, readiness: Readiness, around: Surroundings, stopping: asyncio.Event
) -> bool:
    """The settings of Redis are those of any service's store. False: told to stop. Raises StartRefused."""
    while not stopping.is_set():
        try:
            warnings = await inbox.check()
        except StoreAwayError as error:
            _waiting("store", readiness.store, str(error))
            readiness.store = str(error)
            await around.sleep(PAUSE_S)
            continue
        for warning in warnings:
            log.warning("unchecked", detail=warning)
        readiness.store = None
        return True
    return False


def _waiting(what: str, before: str | None, detail: str) -> None:
    """Said once for each reason."""
    if before != detail:
        log.warning("waiting", what=what, detail=detail)


async def _watch_store(keys: RedisKeys, readiness: Readiness, around: Surroundings) -> None:
    while True:
        await around.sleep(PAUSE_S)
        readiness.store = await keys.ping()


async def _serve(gateway: Gateway, settings: ProgramSettings, stopping: asyncio.Event) -> None:
    config = uvicorn.Config(
        build_app(gateway),
        lifespan="off",
        access_log=False,  # a link's address is a permission: it belongs in no log
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=STOP_LIMIT_S,
        ws="none",
    )
    server = _Server(config)
    listener = _listener(settings)
    with listener:
        host, port = listener.getsockname()[:2]
        log.info("serving", url=f"http://{host}:{port}", forms=list(settings.declaration.forms))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", publishing=gateway.metrics.waiting())
        server.should_exit = True
        stopped.cancel()
        await serving


def _listener(settings: ProgramSettings) -> socket.socket:
    """Raises OSError: the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"gateway: {settings.host} port {settings.port}: {error.strerror}") from error
    return listener
