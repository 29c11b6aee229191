"""When the engine decided, of all shards and of each: what recovery is measured by. Pure, but for `watching`.

A decision is what `deploy.chaos.decisions` says: a command or a lifecycle event that was not in the log before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from contracts.catalog import CONTEXTS
from contracts.envelope import EnvelopeError, decode_headers
from contracts.ids import partition_of
from contracts.record import IncomingRecord
from contracts.topics import LIFECYCLE, SHARDS, commands_topic
from deploy.chaos.decisions import Decisions
from deploy.demo.observer_kafka import Observer

READY_SECONDS = 30.0


@dataclass(slots=True)
class Decided:
    """Mutable: `take` folds one record in. Times are broker times in ms."""

    all: Decisions = field(default_factory=Decisions)
    by_shard: dict[int, Decisions] = field(default_factory=dict)

    def take(self, record: IncomingRecord) -> None:
        before = self.all.count
        self.all.take(record)
        if self.all.count > before:
            shard = partition_of(_process_of(record), SHARDS)
            self.by_shard.setdefault(shard, Decisions()).take(record)

    def first_s(self, at_ms: int) -> float | None:
        """Seconds from `at_ms` to the first decision; None: there was none."""
        first = self.all.first_after_ms(at_ms)
        return None if first is None else (first - at_ms) / 1000

    def every_s(self, at_ms: int) -> float | None:
        """Seconds from `at_ms` until each of the shards that ever decided had decided anew; None: one has not."""
        firsts = [decisions.first_after_ms(at_ms) for decisions in self.by_shard.values()]
        found = [first for first in firsts if first is not None]
        return None if not found or len(found) < len(firsts) else (max(found) - at_ms) / 1000


def _process_of(record: IncomingRecord) -> str:
    try:
        found = decode_headers(record.headers).process_id
    except EnvelopeError:
        found = None
    return found or (record.key or b"").decode()


@asynccontextmanager
async def watching(kafka: str) -> AsyncIterator[Decided]:
    """Everything that was ever decided, and what is decided from now on. Raises what ended the observer."""
    decided, ready = Decided(), asyncio.Event()
    topics = [LIFECYCLE, *(commands_topic(context) for context in CONTEXTS)]
    task = asyncio.create_task(Observer(kafka, topics, decided.take).run(ready))
    try:
        await asyncio.wait_for(ready.wait(), READY_SECONDS)
        yield decided
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
