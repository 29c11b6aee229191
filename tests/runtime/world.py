"""A memory log and store, and engines that come and go on them."""

from __future__ import annotations

import itertools

from prometheus_client import CollectorRegistry

from contracts.record import OutgoingRecord
from contracts.topics import INBOX, LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, ORCHESTRATOR_REPLAYS, SHARDS
from orchestrator.runtime.engine_loop import ENGINE_GROUP, EngineLoop, EngineSettings
from orchestrator.runtime.log import LogUnavailable, Place
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.store import StoreUnavailable
from orchestrator.runtime.store_memory import MemoryStore
from tests.runtime.fake_engine import EFFECTS, fake_rules

TOPICS = {
    INBOX: SHARDS,
    EFFECTS: 4,
    LIFECYCLE: 4,
    ORCHESTRATOR_DEAD_LETTERS: 4,
    ORCHESTRATOR_REPLAYS: 4,
    "orders.events": 4,
    "payment.events": 4,
}


class World:
    """`now_ms` is the broker's clock; it moves only when a test moves it."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.log = MemoryLog(TOPICS, lambda: self.now_ms)
        self.log.commit_start(ENGINE_GROUP, INBOX)
        self.store = MemoryStore()
        self._ids = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._ids)}"

    async def engine(self, rules: Rules | None = None, **settings: object) -> Engine:
        """A new engine that has joined the group."""
        engine = Engine(self, rules or fake_rules(), settings)
        await engine.loop.open()
        return engine

    def put(self, *records: OutgoingRecord) -> None:
        for record in records:
            self.log.put(record)

    def effect_ids(self) -> list[str]:
        """`ce_id`s of all published effects, in order of each partition."""
        return [dict(record.headers)["ce_id"].decode() for record in self.log.records(EFFECTS)]

    def effects(self) -> set[tuple[str, bytes | None]]:
        """Ids and bodies of all published effects."""
        return {(dict(r.headers)["ce_id"].decode(), r.value) for r in self.log.records(EFFECTS)}

    def place(self, shard: int) -> Place:
        return Place(INBOX, shard)


class Engine:
    """One engine loop, driven by hand."""

    def __init__(self, world: World, rules: Rules, settings: dict[str, object]) -> None:
        self.registry = CollectorRegistry()
        self.readiness = Readiness()
        self.metrics = Metrics(self.registry)
        known: dict[str, object] = {"instance": "test", **settings}
        self.loop = EngineLoop(
            world.log,
            world.store,
            rules,
            self.metrics.engine,
            self.readiness,
            EngineSettings(**known),  # type: ignore[arg-type]
            new_id=world.new_id,
        )

    async def work(self, rounds: int = 12, flush: bool = True) -> int:
        """Claim and fold until nothing more comes; store it."""
        inputs = idle = 0
        for _ in range(rounds):
            try:
                await self.loop.claim()
            except (StoreUnavailable, LogUnavailable):
                continue
            done = await self.loop.step(0)
            inputs += done
            idle = 0 if done else idle + 1
            if idle > 3:
                break
        if flush:
            await self.loop.flush()
        return inputs

    async def die(self) -> None:
        """kill -9: nothing is stored, committed or said."""
        subscription = self.loop.ownership.subscription
        subscription.vanish()  # type: ignore[attr-defined]

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0
