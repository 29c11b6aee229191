"""The composition root of the orchestrator, and the only reader of its environment.

    python -m orchestrator --roles router,engine,clock --endpoints .local/endpoints.json

Exit codes: 0 stopped when asked to, 1 refused to start (with the reason), 2 usage.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import structlog
import typer
import uvloop
from prometheus_client import CollectorRegistry
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.catalog import standard_catalog
from contracts.topics import INBOX, TopicSpec, domain_topics, orchestrator_topics
from operations.collector import settle_collector
from operations.endpoints import EndpointsError, find_endpoints
from operations.http import OperationsServer
from operations.logs import configure_logs
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.audit_loop import AuditLoop, AuditMetrics
from orchestrator.runtime.audit_redis import RedisAuditStore
from orchestrator.runtime.auditor import SHARE
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.clock import Clock
from orchestrator.runtime.clock_ownership import ClockOwnership
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.group_start_kafka import commit_start
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.log import LogUnavailable
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.mending import Mending
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.ownership import Ownership
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.readmodel import ReadModel
from orchestrator.runtime.restore import Restorer
from orchestrator.runtime.router import Router
from orchestrator.runtime.rules import rules_of
from orchestrator.runtime.snapshotter import SnapshotSettings, Snapshotter
from orchestrator.runtime.store import StoreUnavailable
from orchestrator.runtime.store_redis import RedisStore, StoreRefused
from orchestrator.runtime.topics_kafka import start_problems
from orchestrator.sagas import FINGERPRINTS_FILE, all_sagas
from orchestrator.verify import read_handlers, verify_sagas
from orchestrator.verify.cataloged import check_catalog
from orchestrator.verify.versions import FingerprintsError, check_versions, read_fingerprints

log = structlog.get_logger("orchestrator")
Found = TypeVar("Found")
ROLES = ("router", "engine", "clock")
PROCESSES_GAUGE_S = 5.0
"""How often the gauge of processes by saga and phase is renewed."""


class Refused(RuntimeError):
    """The orchestrator does not start; the message says why, and what to do."""


class Environment(BaseSettings):
    """COUNTERPOINT_KAFKA and COUNTERPOINT_REDIS_URL name the stack where no endpoints file does."""

    model_config = SettingsConfigDict(env_prefix="COUNTERPOINT_")

    kafka: str | None = None
    redis_url: str | None = None
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Settings:
    kafka: str
    redis_url: str
    roles: frozenset[str]
    instance: str
    metrics_port: int
    snapshot_seconds: float = SnapshotSettings().sample_age_s
    audit_share: float = SHARE


def main(
    roles: Annotated[str, typer.Option(help="Any of router, engine, clock, joined by commas.")] = ",".join(ROLES),
    endpoints: Annotated[Path | None, typer.Option(help="The stack's endpoints.json.")] = None,
    metrics_port: Annotated[int, typer.Option(help="Of /metrics, /healthz, /readyz; 0 picks a free one.")] = 0,
    instance: Annotated[str, typer.Option(help="Names this process among others; keep it over restarts.")] = (
        "orchestrator-1"
    ),
    snapshot_seconds: Annotated[
        float,
        typer.Option("--snapshot-after", min=1, hidden=True, help="Seconds that a change waits for its snapshot."),
    ] = SnapshotSettings().sample_age_s,
    audit_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of its time, at most, that an engine audits its shards; 0: never.")
    ] = SHARE,
) -> None:
    """Run the orchestrator: any of its roles in this OS process, until SIGTERM."""
    environment = Environment()
    configure_logs("orchestrator", environment.log_level)
    wanted = frozenset(role.strip() for role in roles.split(",") if role.strip())
    if not wanted or wanted - set(ROLES):
        typer.echo(f"--roles takes any of {', '.join(ROLES)}, not {roles!r}", err=True)
        raise typer.Exit(2)
    try:
        kafka, redis_url = _stack(endpoints, environment)
        settings = Settings(kafka, redis_url, wanted, instance, metrics_port, snapshot_seconds, audit_share)
        uvloop.run(_run(settings))
    except (Refused, EndpointsError, StoreRefused) as error:
        log.error("refused to start", reason=str(error))
        raise typer.Exit(1) from None


def _stack(endpoints: Path | None, environment: Environment) -> tuple[str, str]:
    """Kafka's bootstrap servers and the URL of the orchestrator's Redis. Raises EndpointsError."""
    if endpoints is None and environment.kafka and environment.redis_url:
        return environment.kafka, environment.redis_url
    found = find_endpoints(endpoints, os.environ, Path.cwd())
    return found.kafka, found.redis.orchestrator


async def _run(settings: Settings) -> None:
    book = _verified_book()
    metrics, readiness = Metrics(CollectorRegistry()), Readiness()
    readiness.set("start", "starting")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        server = OperationsServer(
            metrics.registry, health=lambda: None, ready=readiness.problem, port=settings.metrics_port
        )
        stack.enter_context(server)
        log.info("starting", roles=sorted(settings.roles), operations=server.url)
        store = RedisStore(settings.redis_url)
        stack.push_async_callback(store.close)
        if await _unless_stopped(_prepare(settings, book, readiness, store), stopping):
            program = _Program(settings, book, metrics, readiness, store)
            await program.open(stack)
            settle_collector()
            readiness.set("start", None)
            await program.run(stopping)
    log.info("stopped")


def _verified_book() -> SagaBook:
    """Raises Refused if `verify` has findings: the same ones."""
    sagas = all_sagas()
    try:
        recorded = read_fingerprints(FINGERPRINTS_FILE)
    except FingerprintsError as error:
        raise Refused(str(error)) from None
    findings = (
        *check_catalog(sagas, standard_catalog()),
        *verify_sagas(sagas, read_handlers()),
        *check_versions(sagas, recorded),
    )
    if findings:
        lines = "\n".join(f"  {finding}" for finding in findings)
        raise Refused(f"the sagas have {len(findings)} findings (see `counterpoint verify`):\n{lines}")
    return SagaBook(sagas)


def needed_topics(book: SagaBook) -> tuple[TopicSpec, ...]:
    """What the orchestrator reads and writes."""
    return (*domain_topics(tuple(sorted(book.contexts | book.told_contexts))), *orchestrator_topics())


async def _prepare(settings: Settings, book: SagaBook, readiness: Readiness, store: RedisStore) -> None:
    """Wait until Kafka and Redis are there, and check them. Raises Refused or StoreRefused if they are not fit."""
    problems = await _patiently(lambda: start_problems(settings.kafka, needed_topics(book)), readiness, "kafka")
    if problems:
        raise Refused("; ".join(problems))
    await commit_start(settings.kafka, ENGINE_GROUP, INBOX)
    await _patiently(store.check, readiness, "redis")


async def _unless_stopped(work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> bool:
    """Do the work, but not longer than until asked to stop; False: it was given up. Raises what the work raises."""
    task, asked = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    task.result()
    return True


async def _patiently(check: Callable[[], Coroutine[Any, Any, Found]], readiness: Readiness, name: str) -> Found:
    """Wait out a log or a store that is away. What the check raises else is raised."""
    backoff = Backoff()
    while True:
        try:
            found = await check()
        except (LogUnavailable, StoreUnavailable) as error:
            log.warning("waits", for_=name, error=str(error))
            readiness.set(name, f"{name} is away: {error}")
            await asyncio.sleep(backoff.next_s())
            continue
        readiness.set(name, None)
        return found


def _new_id() -> str:
    return uuid4().hex


class _Program:
    """The loops of the wanted roles, opened, run and closed together."""

    def __init__(
        self, settings: Settings, book: SagaBook, metrics: Metrics, readiness: Readiness, store: RedisStore
    ) -> None:
        self._settings = settings
        self._book = book
        self._metrics = metrics
        self._readiness = readiness
        self._store = store
        self._kafka = KafkaLog(settings.kafka, settings.instance)
        self._loops: list[Router | EngineLoop | ClockOwnership | Clock | Snapshotter | AuditLoop] = []

    async def open(self, stack: AsyncExitStack) -> None:
        """Clock and snapshotter hear the broker's time from every append of the others."""
        roles = self._settings.roles
        observers: list[Callable[[int], None]] = []

        def on_append(at_ms: int) -> None:
            for observe in observers:
                observe(at_ms)

        if "router" in roles:
            router = Router(self._kafka, self._book, self._metrics.router, self._readiness, on_append=on_append)
            self._loops.append(router)
        engine = self._engine(on_append) if "engine" in roles else None
        if engine is not None:
            self._loops.append(engine)
            snapshotter = self._snapshotter(engine)
            observers.append(snapshotter.observe)
            self._loops.append(snapshotter)
            if self._settings.audit_share:
                audit = self._audit(engine)
                observers.append(audit.observe)
                self._loops.append(audit)
        if "clock" in roles:
            clock = self._clock(engine)
            observers.append(clock.observe)
            self._loops.append(clock)
        for loop in self._loops:
            await loop.open()
            stack.push_async_callback(loop.close)

    def _engine(self, on_append: Callable[[int], None]) -> EngineLoop:
        return EngineLoop(
            self._kafka,
            self._store,
            rules_of(self._book),
            self._metrics.engine,
            self._readiness,
            EngineSettings(self._settings.instance),
            new_id=_new_id,
            on_append=on_append,
        )

    def _snapshotter(self, engine: EngineLoop) -> Snapshotter:
        """Takes the snapshots of the engine's shards, and lets the engine's claims mend them."""
        rules, metrics = rules_of(self._book), self._metrics.snapshots
        age_s = self._settings.snapshot_seconds
        every = SnapshotSettings(sample_age_s=age_s, look_interval_s=min(age_s, SnapshotSettings().look_interval_s))
        snapshotter = Snapshotter(
            self._kafka, self._store, engine.ownership, rules, metrics, self._readiness, time.monotonic, _new_id, every
        )
        restorer = Restorer(self._kafka, self._store, rules, metrics, _new_id)
        engine.ownership.mend_with(Mending(self._store, restorer, snapshotter, rules.semantics, _new_id))
        return snapshotter

    def _audit(self, engine: EngineLoop) -> AuditLoop:
        metrics = AuditMetrics(self._metrics.registry, time.time)
        store = RedisAuditStore(self._store)
        return AuditLoop(
            store,
            lambda: engine.ownership.owned,
            metrics,
            monotonic=time.monotonic,
            share=self._settings.audit_share,
        )

    def _clock(self, engine: EngineLoop | None) -> Clock:
        """With the engine in the same OS process it fires that engine's timers, else it joins a group of its own."""
        ownership: Ownership | ClockOwnership
        if engine is not None:
            ownership = engine.ownership
        else:
            ownership = ClockOwnership(self._kafka, self._readiness)
            self._loops.append(ownership)
        return Clock(
            self._kafka,
            self._store,
            lambda: ownership.owned,
            self._metrics.clock,
            self._readiness,
            self._settings.instance,
            time.monotonic,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Until asked to stop; then every loop finishes what it has in hand. A loop that ends by itself ends all."""
        tasks = [asyncio.create_task(loop.run(), name=type(loop).__name__) for loop in self._loops]
        gauge = asyncio.create_task(self._renew_gauge(), name="gauge")
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait((*tasks, asked), return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        for loop in self._loops:
            loop.stop()
        for task in (gauge, asked):
            task.cancel()
        results: Sequence[object] = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _renew_gauge(self) -> None:
        model = ReadModel(self._store)
        while True:
            try:
                self._metrics.engine.processes(await model.counts())
            except StoreUnavailable as error:
                log.warning("processes are not counted", error=str(error))
            await asyncio.sleep(PROCESSES_GAUGE_S)


def run() -> None:
    """The program `python -m orchestrator`."""
    typer.run(main)
