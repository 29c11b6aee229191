"""One run over a stack that stands: publish, watch, wait for rest, gather. No printing, no starting or stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from contracts.catalog import CONTEXTS
from contracts.process import Phase
from contracts.topics import LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, dead_letters_topic, events_topic
from deploy.demo.gather import Gathered, gather
from deploy.demo.observation import Observation
from deploy.demo.observer_kafka import Observer
from deploy.demo.orders import PlannedOrder
from deploy.demo.publisher_kafka import Publisher
from deploy.demo.traffic import Published, Sending, process_of
from deploy.local.site import SERVICES
from operations.endpoints import Endpoints

LOOK_SECONDS = 0.2
QUIET_SECONDS = 1.5
"""After the last end, nothing more may come for so long: then everything is at rest."""
REST_SECONDS_MAX = 30.0
"""For reactions after the last end (goods leave the warehouse when inventory hears of the dispatch)."""
FINAL: frozenset[Phase] = frozenset(("completed", "compensated", "cancelled"))


@dataclass(slots=True)
class Run:
    """`seen` and `published` grow while it runs."""

    orders: Sequence[PlannedOrder]
    sendings: Sequence[Sending]
    seen: Observation = field(default_factory=Observation)
    published: list[Published] = field(default_factory=list)

    @property
    def phases(self) -> Mapping[str, Phase]:
        """Of the orders' processes; other flows may play on the same topics."""
        processes = (process_of(order.placed.order_id) for order in self.orders)
        return {process: self.seen.phases[process] for process in processes if process in self.seen.phases}

    @property
    def open(self) -> int:
        """Orders published whose process neither has ended nor is stuck."""
        settled = sum(phase in FINAL or phase == "stuck" for phase in self.phases.values())
        return len(self.seen.started_ms) - settled

    def has_started(self, process: str) -> bool:
        return process in self.seen.phases

    def note(self, published: Published) -> None:
        self.published.append(published)
        if published.sending.expects == "starts" and published.sending.process is not None:
            self.seen.starts(published.sending.process, published.at_ms)


async def perform(
    run: Run,
    endpoints: Endpoints,
    *,
    rate: float,
    limit_seconds: float,
    look: Callable[[Run], None],
    calm: asyncio.Event,
) -> Gathered:
    """`look` is called a few times a second; `calm` is set when nothing is being killed any more. Comes back at rest,
    or when the time limit has passed."""
    async with _observed(endpoints.kafka, run.seen) as observer:
        publisher = Publisher(endpoints.kafka, rate, run.note, run.has_started)
        publishing = asyncio.create_task(publisher.run(run.sendings))
        try:
            async with asyncio.timeout(limit_seconds):
                while not (publishing.done() and calm.is_set() and run.open == 0):
                    look(run)
                    _raise_failure(publishing)
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await _rest(run.seen, observer)
        look(run)
    return await gather(endpoints, run.orders, run.seen)


@asynccontextmanager
async def _observed(kafka: str, seen: Observation) -> AsyncIterator[Observer]:
    topics = [events_topic(context) for context in CONTEXTS]
    topics += [LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, *map(dead_letters_topic, SERVICES)]
    observer, ready = Observer(kafka, topics, seen.take), asyncio.Event()
    observing = asyncio.create_task(observer.run(ready))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((observing, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    _raise_failure(observing)
    try:
        yield observer
        _raise_failure(observing)
    finally:
        observing.cancel()
        await asyncio.gather(observing, return_exceptions=True)


async def _rest(seen: Observation, observer: Observer) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + REST_SECONDS_MAX
    while loop.time() < end:
        reserved = sum(reserved for _, _, reserved in seen.shelves.values())
        if reserved == 0 and observer.quiet_seconds >= QUIET_SECONDS:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _raise_failure(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()
