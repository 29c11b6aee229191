"""The test kit of service teams: deliver a message, see what is published; crash at any point and deliver again.

    async with Harness(service, resources=[FakeGateway()]) as harness:
        outcomes = await harness.deliver(ChargePayment(...), process_id="order-fulfilment:o1")
        assert outcomes[0].message == PaymentCaptured(...)

It runs the real middleware, over the memory inbox and the memory bus; time stands still unless `clock` is moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from contracts.envelope import Envelope, EnvelopeError, decode_headers, encode_headers
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.message import Command, Message
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import dead_letters_topic, replays_topic
from services.sdk.inbox_memory import MemoryInbox
from services.sdk.memory import MemoryBus
from services.sdk.metrics import Metrics, ServiceMetrics
from services.sdk.patience import Patience
from services.sdk.ports import Bus, Exchange, Inbox, Reply
from services.sdk.runner import GROUP_PREFIX, Runner
from services.sdk.service import Service
from services.sdk.start import needed_topics
from services.sdk.surroundings import Surroundings
from services.sdk.wiring import Limits, Wiring, check_resources

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z, where a test's clock begins."""
SETTLE_LIMIT_S = 10.0
"""A message that is not handled by then is a failed test."""


class CrashPoint(StrEnum):
    """Where an OS process can die while it handles a message."""

    BEFORE_EFFECT = "before-effect"
    """The started mark is stored, the handler has not run."""
    AFTER_EFFECT = "after-effect"
    """The handler has run, its outcome is not stored."""
    AFTER_STORE = "after-store"
    """The outcome is stored and not published."""
    AFTER_PUBLISH = "after-publish"
    """The outcome is published, the offset is not committed."""


@dataclass
class Clock:
    """The only clock of a harness. Sleeping moves it; `slept_s` says what was slept."""

    now_ms: int = START_MS
    slept_s: list[float] = field(default_factory=list)

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0.001)

    def surroundings(self) -> Surroundings:
        tokens = count(1)
        return Surroundings(
            now_ms=lambda: self.now_ms,
            monotonic_s=lambda: self.now_ms / 1000,
            sleep=self.sleep,
            random=lambda: 0.5,
            token=lambda: f"{next(tokens):08x}",
        )


@dataclass(frozen=True, slots=True)
class Published:
    """One record that the service published. `message` is None for a dead letter."""

    record: IncomingRecord
    envelope: Envelope
    message: Message | None


class Harness:
    """One service between a memory bus and a memory inbox. `crash_at` kills it once, at the next message that gets
    there; `restart` (or the next `deliver`) brings it back."""

    def __init__(self, service: Service, resources: Sequence[object] = (), limits: Limits | None = None) -> None:
        self.service = service
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.bus = MemoryBus(needed_topics(service), lambda: self.clock.now_ms)
        self.limits = limits or Limits(poll_s=0.005, commit_s=0.005, drain_s=1.0, stop_s=2.0)
        self.inbox = MemoryInbox(lambda: self.clock.now_ms, self.limits.retention_ms)
        self.crash_at: CrashPoint | None = None
        self.crashed = asyncio.Event()
        self._resources = resources
        self._around = self.clock.surroundings()
        self._metrics = ServiceMetrics(Metrics(self.registry), service.name, frozenset(service.handlers))
        self._numbers = count(1)
        self._seen = 0
        self._task: asyncio.Task[None] | None = None
        self.runner = self._make_runner()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.kill()

    async def deliver(
        self,
        message: Message,
        *,
        id: str | None = None,
        source: str = ORCHESTRATOR_SOURCE,
        process_id: str | None = None,
        idempotency_key: str | None = None,
        undoes: tuple[str, ...] = (),
        deadline: str | None = None,
        traceparent: str | None = None,
    ) -> list[Published]:
        """Publish `message` to the service and return what it published for it, dead letters included.

        A command's idempotency key is its id, unless given.
        """
        identity = id or f"test-{next(self._numbers)}"
        key = idempotency_key or (identity if isinstance(message, Command) else None)
        envelope = Envelope(
            id=identity,
            source=source,
            type=message.type,
            process_id=process_id,
            idempotency_key=key,
            undoes=undoes,
            deadline=deadline,
            traceparent=traceparent,
        )
        record = OutgoingRecord(message.topic, message.key.encode(), message.to_json(), encode_headers(envelope))
        return await self.deliver_record(record)

    async def deliver_record(self, record: OutgoingRecord, age_s: float = 0) -> list[Published]:
        """The same for a raw record, `age_s` seconds old."""
        self.bus.append(record, self.clock.now_ms - round(age_s * 1000))
        return await self.settled()

    async def replay(self, letter: Published) -> list[Published]:
        """Send a dead letter to the service's replays, as an operator does."""
        record = letter.record
        topic = replays_topic(self.service.name)
        return await self.deliver_record(OutgoingRecord(topic, record.key, record.value or b"", record.headers))

    async def settled(self) -> list[Published]:
        """Wait until all is handled, or a crash point is reached; what was published since the last call."""
        if self._task is None or self._task.done():
            self._start()
        async with asyncio.timeout(SETTLE_LIMIT_S):
            while not self.crashed.is_set() and not self._is_done():  # noqa: ASYNC110 - it has no event of its own
                await asyncio.sleep(0.001)
        if self.crashed.is_set():
            await self.kill()
        return self._published()

    async def restart(self) -> list[Published]:
        """Kill it, if it runs, and start it anew: what was not committed is delivered again."""
        await self.kill()
        self._start()
        return await self.settled()

    async def kill(self) -> None:
        """Like kill -9: nothing more is stored, published or committed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def runner_ended(self) -> bool:
        return self._task is not None and self._task.done()

    def second(self, instance: str) -> Runner:
        """Another replica of the service, on the same bus and inbox; run it in a task."""
        return self._make_runner(instance)

    def dead_letters(self) -> list[IncomingRecord]:
        return self.bus.read(dead_letters_topic(self.service.name))

    def metric(self, name: str, **labels: str) -> float:
        """The value of `counterpoint_automation_<name>` for this service; 0 if it was never touched."""
        full = f"counterpoint_automation_{name}"
        return self.registry.get_sample_value(full, {"service": self.service.name, **labels}) or 0.0

    def _start(self) -> None:
        self.crashed.clear()
        self.runner = self._make_runner()
        self._task = asyncio.create_task(self.runner.run())

    def _make_runner(self, instance: str = "test") -> Runner:
        wiring = Wiring(
            service=self.service,
            resources=self._resources,
            inbox=_CrashingInbox(self),
            bus=_CrashingBus(self),
            metrics=self._metrics,
            patience=Patience(self.service.name, self._metrics, self._around),
            around=self._around,
            instance=instance,
            limits=self.limits,
        )
        check_resources(wiring)
        return Runner(wiring)

    def _is_done(self) -> bool:
        if self._task is not None and self._task.done():
            self._task.result()
        if self.runner.behind() != 0:
            return False
        committed = self.bus.committed(f"{GROUP_PREFIX}{self.service.name}")
        return all(committed.get(place, 0) == end for place, end in self.bus.ends(self.service.topics).items() if end)

    def _published(self) -> list[Published]:
        new = self.bus.published[self._seen :]
        self._seen = len(self.bus.published)
        return [self._parsed(record) for record in new]

    def _parsed(self, record: IncomingRecord) -> Published:
        try:
            envelope = decode_headers(record.headers)
        except EnvelopeError:
            return Published(record, Envelope(id="", source="", type=""), None)
        contract = None if record.topic.endswith(".dead-letters") else self.service.catalog.get(envelope.type)
        message = None if contract is None else contract.model_validate_json(record.value or b"")
        return Published(record, envelope, message)

    async def crash(self, point: CrashPoint) -> None:
        """Called by the fakes at each point; does not return if this is where it dies."""
        if self.crash_at is point:
            self.crash_at = None
            self.crashed.set()
            await asyncio.Event().wait()


class _CrashingInbox:
    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._inner: Inbox = harness.inbox
        self.check = self._inner.check
        self.positions = self._inner.positions
        self.take = self._inner.take

    async def exchange(self, owner: str, session: str, exchange: Exchange) -> Reply:
        if exchange.settlements:
            await self._harness.crash(CrashPoint.AFTER_EFFECT)
        reply = await self._inner.exchange(owner, session, exchange)
        if exchange.claims:
            await self._harness.crash(CrashPoint.BEFORE_EFFECT)
        return reply


class _CrashingBus:
    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._inner: Bus = harness.bus
        self.partitions = self._inner.partitions
        self.subscription = self._inner.subscription

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        await self._harness.crash(CrashPoint.AFTER_STORE)
        await self._inner.publish(records)
        await self._harness.crash(CrashPoint.AFTER_PUBLISH)
