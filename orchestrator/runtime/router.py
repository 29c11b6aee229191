"""The router: appends what concerns a process to the inbox, at least once (DESIGN section 2).

Order, per batch: poll -> route -> append and await every ack -> commit. A batch is appended again, whole and in its
order, until it is acknowledged; nothing is polled meanwhile. Commits follow a moment later: a crash repeats what was
appended since, and loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from contracts.record import IncomingRecord
from contracts.topics import ORCHESTRATOR_REPLAYS, events_topic
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.log import (
    Ack,
    Appender,
    AppendRefused,
    Log,
    LogUnavailable,
    Place,
    PositionLost,
    Subscription,
)
from orchestrator.runtime.metrics import RouterMetrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.routed_batch import RoutedBatch
from orchestrator.runtime.routing import Routing

log = structlog.get_logger(__name__)

ROUTER_GROUP = "counterpoint.router"
LAG_S = 1.0
"""How often the lag gauge is renewed."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    poll_ms: int = 200
    commit_interval_s: float = 0.1
    """Acknowledged work is committed with the first batch, or empty poll, after so long."""


def router_topics(book: SagaBook) -> frozenset[str]:
    """What the router reads."""
    return frozenset((*map(events_topic, book.contexts), ORCHESTRATOR_REPLAYS))


class Router:
    """One router; its own group `Membership`. Construct, `open`, then `run` (or, in a simulation, `step` by hand and
    `commit`), then `close`."""

    def __init__(
        self,
        log: Log,
        book: SagaBook,
        metrics: RouterMetrics,
        readiness: Readiness,
        settings: RouterSettings | None = None,
        *,
        on_append: Callable[[int], None] = lambda at_ms: None,
    ) -> None:
        """`on_append` hears the broker's time with every acknowledged batch, in milliseconds."""
        self._log = log
        self._topics = router_topics(book)
        self._routing = Routing(book)
        self._metrics = metrics
        self._readiness = readiness
        self._settings = settings or RouterSettings()
        self._on_append = on_append
        self._batch = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._interrupt = asyncio.Event()
        """Ends the wait between two attempts: stop, or places were lost."""
        self._lost: set[Place] = set()
        """Places that were revoked while the batch under way waits for its acks."""
        self._uncommitted: dict[Place, int] = {}
        self._commit_due_at = 0.0
        self._backoff = Backoff()
        self._subscription: Subscription | None = None
        self._appender: Appender | None = None

    async def open(self) -> None:
        """Join the group."""
        self._appender = await self._log.appender()
        self._subscription = await self._log.subscribe(ROUTER_GROUP, self._topics, self, "committed")
        self._readiness.watch(self._problem)

    def _problem(self) -> str | None:
        text = self._subscription.problem if self._subscription else None
        return f"router: {text}" if text else None

    # Membership.

    def assigned(self, places: frozenset[Place]) -> None:
        """They start at the group's offset by themselves."""

    async def revoked(self, places: frozenset[Place]) -> None:
        """Let the append under way end, but not be repeated; commit what is acknowledged."""
        self._lost |= places
        self._interrupt.set()
        async with self._batch:
            await self.commit()
            for place in places:
                self._uncommitted.pop(place, None)

    # Work.

    async def run(self) -> None:
        """Work until `stop`; then commit. Raises only for a programmer's error."""
        lag_due_at = 0.0
        while not self._stopping.is_set():
            await self.step(self._settings.poll_ms)
            now = asyncio.get_running_loop().time()
            if now >= lag_due_at and self._subscription is not None:
                self._metrics.lag(self._subscription.lag())
                lag_due_at = now + LAG_S
        async with self._batch:
            await self.commit()

    def stop(self) -> None:
        """Ask `run` to end after the batch under way; one that waits for the log is left to the next router."""
        self._stopping.set()
        self._interrupt.set()

    async def close(self) -> None:
        """Leave the group and drop the connections. What is not committed is routed again by the next owner."""
        if self._subscription is not None:
            await self._subscription.close()
        if self._appender is not None:
            await self._appender.close()

    async def step(self, timeout_ms: int) -> int:
        """One batch; returns how many records were read and are done."""
        assert self._subscription is not None, "open comes before step"
        try:
            polled = await self._subscription.poll(timeout_ms)
        except PositionLost as error:
            await self._find_position(error.places)
            return 0
        # No await up to the lock: what is revoked from here on is about these records, and told by `_lost`.
        self._lost = set()
        async with self._batch:
            done = await self._work(polled) if polled else 0
            if self._uncommitted and asyncio.get_running_loop().time() >= self._commit_due_at:
                await self.commit()
        return done

    async def _work(self, polled: Mapping[Place, Sequence[IncomingRecord]]) -> int:
        batch = RoutedBatch(self._routing, polled)
        acks = await self._append(batch)
        if acks is None:
            return 0
        routed, dead = batch.appended()
        self._metrics.batch(routed, batch.skipped, dead)
        if not self._uncommitted:
            self._commit_due_at = asyncio.get_running_loop().time() + self._settings.commit_interval_s
        self._uncommitted.update(batch.next)
        if acks and acks[-1].timestamp_ms is not None:
            self._on_append(acks[-1].timestamp_ms)
        return batch.records

    async def _append(self, batch: RoutedBatch) -> Sequence[Ack] | None:
        """Until every entry is acknowledged. None: stopped before."""
        assert self._appender is not None
        while True:
            batch.drop(self._lost)
            if not batch.entries:
                return ()
            try:
                acks = await self._appender.append(batch.outgoing())
            except AppendRefused as error:
                if batch.refuse(error):
                    log.error("a record is too large for the log", detail=error.detail)
                    continue
                problem = str(error)
            except LogUnavailable as error:
                problem = str(error)
            else:
                self._backoff.reset()
                self._readiness.set("router-append", None)
                return acks
            log.warning("events wait to be routed", records=len(batch.entries), problem=problem)
            self._readiness.set("router-append", f"router: events wait to be routed: {problem}")
            await self._wait()
            if self._stopping.is_set():
                return None

    async def _wait(self) -> None:
        """The next back-off, or less if there is news."""
        if self._stopping.is_set():
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._interrupt.wait(), self._backoff.next_s())
        self._interrupt.clear()

    async def commit(self) -> None:
        """Store how far the group is. If the log is away it is tried again later: meanwhile a crash repeats more."""
        offsets, self._uncommitted = self._uncommitted, {}
        if not offsets:
            return
        assert self._subscription is not None
        try:
            stored = await self._subscription.commit(offsets)
        except LogUnavailable as error:
            log.warning("offsets wait to be committed", error=str(error))
            self._uncommitted = offsets
            self._commit_due_at = asyncio.get_running_loop().time() + self._backoff.next_s()
            return
        if not stored:
            log.warning("not a member any more: what was routed is routed again", places=len(offsets))

    async def _find_position(self, places: frozenset[Place]) -> None:
        """The offset to read next is not in the log: read again all that is there. Below the log's start, events are
        gone that were never routed; beyond its end, the log was cut or replaced, and what was appended since must not
        be passed over. The engine ignores what it has had."""
        assert self._subscription is not None
        try:
            committed = await self._subscription.committed(places)
            bounds = await self._subscription.bounds(places)
        except LogUnavailable as error:
            self._readiness.set("router-position", f"router: the position is lost, and the log is away: {error}")
            await self._wait()
            return
        self._readiness.set("router-position", None)
        self._backoff.reset()
        self._metrics.position_lost(len(bounds))
        for place, (start, end) in sorted(bounds.items()):
            log.error(
                "the router's position is not in the log: it reads again from the log's start",
                topic=place.topic, partition=place.partition, committed=committed.get(place), start=start, end=end,
            )  # fmt: skip
            self._uncommitted.pop(place, None)
            self._subscription.seek(place, start)
