"""Many processes of one kind, written as the engine would have written them, without running it for each.

One process is folded by the real engine (`decide`, input by input), and encoded by its codec. Every other one has those
bytes with its own number in the place of the first one's: numbers have a fixed width, so that every length that is
encoded stays true. (Two digests of the start event, its fingerprint and trace id, stay the first one's; nothing here
starts the same process twice.) They reach Redis through the engine's own checkpoint script, at the position that the
shard has, so that an engine which claims it finds a sound shard; and the snapshots topic as the snapshotter writes it.
`tests/benchmarks/test_bulk_states.py` holds them against processes that were folded one by one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from benchmarks.orders import order_record
from benchmarks.scale_sagas import PARKED, RING, OrderParked, RingAsked, scale_book
from benchmarks.waiting_processes import answers
from contracts.ids import partition_of
from contracts.message import Event
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import SHARDS
from orchestrator.engine.decide import decide
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import ENGINE_SEMANTICS, Process, encode_process
from orchestrator.language import Saga
from orchestrator.runtime.checkpoint import process_write
from orchestrator.runtime.log import Appender
from orchestrator.runtime.snapshot_store import CutState, Mark
from orchestrator.runtime.snapshots import Cut, encode_cut, take_history, take_state
from orchestrator.runtime.store import Checkpoint, ProcessWrite, ShardPosition, WriteResult
from orchestrator.runtime.store_redis import RedisStore
from orchestrator.testkit.inbox import Inbox

WIDTH = 8
"""Digits of a number: enough for all that fit into a machine."""
BATCH = 4_000
"""Processes that are written together, over all shards."""


class NotLoaded(RuntimeError):
    """The store is in use by an engine, which must not be while states are put under it."""


@dataclass(frozen=True, slots=True)
class Template:
    """One process; its business key is `<prefix>-00000000`, and so is every mention of it in the bytes."""

    saga: str
    prefix: str
    process: Process
    blob: bytes
    history: tuple[bytes, ...]

    def key(self, number: int) -> str:
        return f"{self.prefix}-{number:0{WIDTH}}"

    def process_id(self, number: int) -> str:
        return f"{self.saga}:{self.key(number)}"

    def blob_of(self, number: int) -> bytes:
        return self.blob.replace(self.key(0).encode(), self.key(number).encode())

    def history_of(self, number: int) -> tuple[bytes, ...]:
        zero, own = self.key(0).encode(), self.key(number).encode()
        return tuple(entry.replace(zero, own) for entry in self.history)

    def write_of(self, number: int) -> ProcessWrite:
        """What a checkpoint says of process `number`."""
        # Timers and indexes are the same for all: their names have no number in them.
        write = process_write(None, self.process, self.blob_of(number), self.history_of(number))
        return replace(write, process_id=self.process_id(number))


def parked_template(at_ms: int) -> Template:
    """An order, reserved, charged, labelled and asleep until 2100. `at_ms`: when all of it has happened."""
    return parked(0, at_ms)


def parked(number: int, at_ms: int) -> Template:
    """The same, folded as process `number`: what `parked_template` is compared with."""
    key = f"w-{number:0{WIDTH}}"
    order = OrderParked.model_validate_json(order_record(1, "w").value).model_copy(update={"order_id": key})
    return _folded(PARKED, "w", key, order, at_ms)


def ring_template(due_ms: int, at_ms: int) -> Template:
    """A process that has nothing to do but to end at `due_ms`."""
    key = f"r-{0:0{WIDTH}}"
    asked = RingAsked(ring_id=key, due_at=datetime.fromtimestamp(due_ms / 1000, UTC))
    return _folded(RING, "r", key, asked, at_ms)


def _folded(saga: Saga, prefix: str, key: str, start: Event, at_ms: int) -> Template:
    """Start it, and answer its commands as the automations would, until it waits."""
    book, inbox = scale_book(), Inbox(f"{saga.name}:{key}", saga.name, saga.version)
    inbox.now_ms = at_ms
    process: Process | None = None
    history: list[bytes] = []
    waiting: list[Input] = [inbox.start(start, id=key, source="/benchmarks")]
    while waiting:
        decision = decide(book, process, waiting.pop(0))
        process = decision.process
        if decision.history is not None:
            history.append(decision.history)
        commands = [_read_back(record, at_ms) for record in decision.effects if record.topic.endswith(".commands")]
        waiting += [inbox.published(record) for record in answers(commands)]
    assert process is not None and process.phase == "running", "it waits"
    return Template(saga.name, prefix, process, encode_process(process), tuple(history))


def _read_back(record: OutgoingRecord, at_ms: int) -> IncomingRecord:
    return IncomingRecord(record.topic, 0, 0, at_ms, record.key, record.value, record.headers)


def by_shard(template: Template, numbers: Iterable[int]) -> dict[int, list[int]]:
    """The numbers of the processes of each shard."""
    found: dict[int, list[int]] = {}
    for number in numbers:
        found.setdefault(partition_of(template.process_id(number), SHARDS), []).append(number)
    return found


def batches(numbers: range) -> Iterator[range]:
    for first in range(numbers.start, numbers.stop, BATCH):
        yield range(first, min(first + BATCH, numbers.stop))


async def fill_store(store: RedisStore, template: Template, numbers: range) -> None:
    """Put processes under the shards' present positions. No engine may run meanwhile.

    Raises:
        NotLoaded: an engine does run.
        StoreUnavailable: Redis is away.
    """
    states = await store.cut_states(range(SHARDS))
    for shard, state in states.items():
        if not state.complete:  # what is put here is uncovered, as the script notes: nothing is to be enrolled
            await store.set_cut_state(shard, CutState(state.offset, state.sample, True))
    positions = dict(await store.positions(range(SHARDS)))
    ids = itertools.count()
    for batch in batches(numbers):
        written = [
            _checkpoint(shard, positions, template, own, f"bulk-{batch.start}-{next(ids)}")
            for shard, own in by_shard(template, batch).items()
        ]
        results = await store.write(written)
        if any(result is not WriteResult.WRITTEN for result in results):
            raise NotLoaded("a shard moved while states were put under it: stop the engines first")
        positions |= {checkpoint.shard: checkpoint.position for checkpoint in written}


def _checkpoint(
    shard: int, positions: dict[int, ShardPosition | None], template: Template, numbers: Sequence[int], new_id: str
) -> Checkpoint:
    before = positions[shard]
    # A shard without a position stands before its first input: there is no record to compare.
    position = (
        ShardPosition(0, "", new_id, ENGINE_SEMANTICS) if before is None else replace(before, checkpoint_id=new_id)
    )
    writes = tuple(template.write_of(number) for number in numbers)
    return Checkpoint(shard, None if before is None else before.next, position, writes, (template.saga,), 0)


async def fill_snapshots(appender: Appender, template: Template, numbers: range, at_ms: int) -> None:
    """Write snapshots of processes, taken before the first input, and the cut of every shard there. Raises as the
    appender does."""
    for batch in batches(numbers):
        for shard, own in by_shard(template, batch).items():
            await appender.append([record for number in own for record in snapshot_of(template, shard, number)])
    cut = Cut(0, "", ENGINE_SEMANTICS, at_ms)
    await appender.append([encode_cut(shard, cut) for shard in range(SHARDS)])


def snapshot_of(template: Template, shard: int, number: int) -> list[OutgoingRecord]:
    """The records of one process in the snapshots topic."""
    process_id = template.process_id(number)
    parts, mark = take_history(
        shard, process_id, Mark(0, born_ms=template.process.started_at_ms), template.history_of(number)
    )
    head, _ = take_state(shard, process_id, template.saga, template.blob_of(number), None, mark, ENGINE_SEMANTICS)
    return [*parts, *head]


async def fill_both(store: RedisStore, appender: Appender, template: Template, numbers: range, at_ms: int) -> None:
    """`fill_store` and `fill_snapshots`, side by side."""
    await asyncio.gather(fill_store(store, template, numbers), fill_snapshots(appender, template, numbers, at_ms))
