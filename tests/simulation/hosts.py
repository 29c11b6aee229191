"""The two kinds of programs, composed as their composition roots do it, over the simulated adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from prometheus_client import CollectorRegistry

from orchestrator.engine.book import SagaBook
from orchestrator.runtime.clock import Clock, ClockSettings
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.mending import Mending
from orchestrator.runtime.metrics import Metrics as OrchestratorMetrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.restore import Restorer
from orchestrator.runtime.router import Router, RouterSettings
from orchestrator.runtime.rules import rules_of
from orchestrator.runtime.snapshotter import SnapshotSettings, Snapshotter
from services.sdk import Service
from services.sdk.metrics import Metrics, ServiceMetrics
from services.sdk.patience import Patience
from services.sdk.runner import Runner
from services.sdk.surroundings import Surroundings
from services.sdk.wiring import Limits, Wiring, check_resources
from tests.simulation.broker import Line
from tests.simulation.bus import BusLine
from tests.simulation.program import Program
from tests.simulation.scenario import Pace
from tests.simulation.stores import Images, InboxLine, ServiceStore, StoreLine

POLL_S = 3.0
SAMPLE_AGE_S = 4.0
"""How old a process is when it is snapshotted, where snapshots are taken."""
METRICS = OrchestratorMetrics(CollectorRegistry())
SERVICE_METRICS = Metrics(CollectorRegistry())
"""Shared by all runs: nothing reads them, and making them anew costs more than a run."""
START_MS = 1_767_258_000_000
"""2026-01-01T09:00:00Z, when every run begins."""


class OrchestratorHost:
    """Router, engine and clock in one program (orchestrator/app.py)."""

    def __init__(
        self, book: SagaBook, images: Images, line: Line, instance: str, pace: Pace, snapshots: bool = False
    ) -> None:
        self.line = line
        self.readiness = Readiness()
        ids = count(1)
        clocks: list[Clock] = []

        def on_append(at_ms: int) -> None:
            for clock in clocks:
                clock.observe(at_ms)

        store = StoreLine(images, line.program)
        router = Router(
            line, book, METRICS.router, self.readiness, RouterSettings(poll_ms=int(POLL_S * 1000)), on_append=on_append
        )
        settings = EngineSettings(instance, pace.checkpoint_s, pace.cache, pace.room, int(POLL_S * 1000))
        self.engine = EngineLoop(
            line, store, rules_of(book), METRICS.engine, self.readiness, settings,
            new_id=lambda: f"{line.program.name}-{next(ids)}", on_append=on_append,
        )  # fmt: skip
        monotonic = asyncio.get_running_loop().time
        clock = Clock(
            line, store, lambda: self.engine.ownership.owned, METRICS.clock, self.readiness, instance, monotonic,
            ClockSettings(pace.clock_s, pace.timers),
        )  # fmt: skip
        clocks.append(clock)
        self._loops: Sequence[Router | EngineLoop | Clock | Snapshotter] = (router, self.engine, clock)
        if snapshots:
            self._loops = (*self._loops, self._snapshotter(book, store, line, clocks, lambda: next(ids)))

    def _snapshotter(
        self, book: SagaBook, store: StoreLine, line: Line, observers: list[Clock], number: Callable[[], int]
    ) -> Snapshotter:
        """Takes snapshots every few seconds, one or two processes a page."""
        rules, monotonic = rules_of(book), asyncio.get_running_loop().time

        def new_id() -> str:
            return f"{line.program.name}-{number()}"

        settings = SnapshotSettings(SAMPLE_AGE_S, 1_000.0, 2, SAMPLE_AGE_S / 2)
        snapshotter = Snapshotter(
            line, store, self.engine.ownership, rules, METRICS.snapshots, self.readiness, monotonic, new_id, settings
        )
        restorer = Restorer(line, store, rules, METRICS.snapshots, new_id)
        self.engine.ownership.mend_with(Mending(store, restorer, snapshotter, rules.semantics, new_id))
        observers.append(snapshotter)  # type: ignore[arg-type]  # it hears the broker's time as a clock does
        return snapshotter

    async def run(self) -> None:
        """Until stopped; a loop that ends by itself or raises ends all, and is raised."""
        for loop in self._loops:
            await loop.open()
        tasks = [asyncio.create_task(loop.run()) for loop in self._loops]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        for loop in self._loops:
            await loop.close()

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()


@dataclass(slots=True)
class ServiceHost:
    """One service in a program of its own (services/sdk/host.py)."""

    service: Service
    resources: Sequence[object]
    store: ServiceStore
    line: Line
    partitions: dict[str, int]
    instance: str
    pace: Pace
    skew_ms: int
    runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        around = surroundings(self.line.program, self.line.random, self.skew_ms)
        metrics = ServiceMetrics(SERVICE_METRICS, self.service.name, frozenset(self.service.handlers))
        limits = Limits(
            concurrency=self.pace.concurrency,
            held_max=self.pace.concurrency * 4,
            poll_s=POLL_S,
            commit_s=self.pace.commit_s,
            drain_s=self.pace.drain_s,
        )
        wiring = Wiring(
            service=self.service,
            resources=(*self.resources, around),
            inbox=InboxLine(self.store, self.line.program),
            bus=BusLine(self.line, self.partitions),
            metrics=metrics,
            patience=Patience(self.service.name, metrics, around),
            around=around,
            instance=self.instance,
            limits=limits,
        )
        check_resources(wiring)
        self.runner = Runner(wiring)

    async def run(self) -> None:
        await self.runner.run()

    def stop(self) -> None:
        self.runner.stop()


def surroundings(program: Program, random: Random, skew_ms: int) -> Surroundings:
    loop = asyncio.get_running_loop()
    tokens = count(1)
    return Surroundings(
        now_ms=lambda: START_MS + skew_ms + int(loop.time() * 1000),
        monotonic_s=loop.time,
        sleep=asyncio.sleep,
        random=random.random,
        token=lambda: f"{program.name}-{next(tokens)}",
    )
