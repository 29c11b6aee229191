"""The store in memory: the same promises as Redis, deterministic, with faults to order. For tests and simulations."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.snapshot_store import CutState, Mark
from orchestrator.runtime.snapshot_store_memory import MemorySnapshots
from orchestrator.runtime.store import (
    Checkpoint,
    DueTimer,
    IndexEntry,
    Loaded,
    ShardPosition,
    StoreUnavailable,
    WriteResult,
)


@dataclass(slots=True)
class StoreFaults:
    """What goes wrong next."""

    away: bool = False
    """While true, every call fails and changes nothing."""
    lost_answers: int = 0
    """So many writes are done, but fail (the answer is lost)."""
    failed_calls: int = 0
    """So many calls fail and change nothing."""


@dataclass(slots=True)
class _ShardState:
    position: ShardPosition | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)
    history: dict[str, list[bytes]] = field(default_factory=dict)
    timers: dict[tuple[str, str], int] = field(default_factory=dict)
    indexes: dict[str, dict[str, int]] = field(default_factory=dict)
    sagas: set[str] = field(default_factory=set)
    uncovered: dict[str, int] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    ahead: dict[str, int] = field(default_factory=dict)
    cut: CutState = field(default_factory=CutState)
    restoring: str | None = None

    def clear(self) -> None:
        fresh = _ShardState()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))


class MemoryStore(MemorySnapshots):
    """Implements ShardStore, TimerStore, ProcessStore and SnapshotStore."""

    def __init__(self) -> None:
        self.faults = StoreFaults()
        self._shards: dict[int, _ShardState] = {}
        self._refusals: dict[int, bytes] = {}
        self._orders = {}

    # What tests do to it.

    def image(self) -> MemoryStore:
        """A copy of the contents as they are now."""
        copied = MemoryStore()
        copied._shards = copy.deepcopy(self._shards)
        return copied

    def rewind(self, image: MemoryStore) -> None:
        """Go back in time (a failover, or a crash that lost the last second)."""
        self._shards = copy.deepcopy(image._shards)

    def wipe(self) -> None:
        """Lose everything."""
        self._shards.clear()

    def timers(self, shard: int) -> dict[tuple[str, str], int]:
        return dict(self._shard(shard).timers)

    def indexes(self, shard: int) -> dict[str, dict[str, int]]:
        return {name: dict(members) for name, members in self._shard(shard).indexes.items() if members}

    def _shard(self, number: int) -> _ShardState:
        return self._shards.setdefault(number, _ShardState())

    async def _call(self) -> None:
        await asyncio.sleep(0)
        if self.faults.failed_calls:
            self.faults.failed_calls -= 1
            raise StoreUnavailable("the store failed")
        if self.faults.away:
            raise StoreUnavailable("the store is away")

    # ShardStore.

    async def positions(self, shards: Collection[int]) -> Mapping[int, ShardPosition | None]:
        await self._call()
        return {number: self._shard(number).position for number in shards}

    async def load(self, wanted: Mapping[int, Sequence[str]]) -> Mapping[int, Loaded]:
        await self._call()
        found = {}
        for number, ids in wanted.items():
            shard = self._shard(number)
            next_offset = None if shard.position is None else shard.position.next
            found[number] = Loaded(next_offset, tuple(shard.blobs.get(process_id) for process_id in ids))
        return found

    async def write(self, checkpoints: Sequence[Checkpoint]) -> Sequence[WriteResult]:
        await self._call()
        results = [self._apply(checkpoint) for checkpoint in checkpoints]
        if self.faults.lost_answers:
            self.faults.lost_answers -= 1
            raise StoreUnavailable("the answer was lost")
        return results

    def _apply(self, checkpoint: Checkpoint) -> WriteResult:
        shard = self._shard(checkpoint.shard)
        stored = shard.position
        if stored is not None and stored.checkpoint_id == checkpoint.position.checkpoint_id:
            return WriteResult.REPEATED
        if (None if stored is None else stored.next) != checkpoint.expected_next:
            return WriteResult.MISMATCH
        shard.position = checkpoint.position
        shard.sagas.update(checkpoint.sagas)
        for write in checkpoint.writes:
            shard.uncovered.setdefault(write.process_id, write.first_offset)
            if write.blob is None or write.forget_history:
                shard.history.pop(write.process_id, None)
            if write.blob is None:
                shard.blobs.pop(write.process_id, None)
            else:
                shard.blobs[write.process_id] = write.blob
            if write.history:
                shard.history.setdefault(write.process_id, []).extend(write.history)
            for name in write.timers_unset:
                shard.timers.pop((write.process_id, name), None)
            shard.timers.update(((write.process_id, name), due) for name, due in write.timers_set)
            for index in write.indexes_left:
                shard.indexes.get(index, {}).pop(write.process_id, None)
            for index in write.indexes:
                shard.indexes.setdefault(index, {})[write.process_id] = write.updated_at_ms
        return WriteResult.WRITTEN

    async def set_refusals(self, refusals: Mapping[int, bytes | None]) -> None:
        await self._call()
        for number, refusal in refusals.items():
            if refusal is None:
                self._refusals.pop(number, None)
            else:
                self._refusals[number] = refusal

    # TimerStore.

    async def due_timers(self, shards: Collection[int], until_ms: int, limit: int) -> Sequence[DueTimer]:
        await self._call()
        found: list[DueTimer] = []
        for number in shards:
            due = sorted(
                (due_ms, f"{process_id}|{timer_id}", process_id, timer_id)
                for (process_id, timer_id), due_ms in self._shard(number).timers.items()
                if due_ms <= until_ms
            )
            found.extend(DueTimer(number, process_id, timer_id, ms) for ms, _, process_id, timer_id in due[:limit])
        return found

    # ProcessStore.

    async def sagas(self) -> frozenset[str]:
        await self._call()
        return frozenset(saga for shard in self._shards.values() for saga in shard.sagas)

    async def entries(self, index: str, at_most_ms: int | None, limit: int, skip: int) -> Sequence[IndexEntry]:
        await self._call()
        found: list[IndexEntry] = []
        for shard in self._shards.values():
            members = sorted(
                (
                    (at_ms, process_id)
                    for process_id, at_ms in shard.indexes.get(index, {}).items()
                    if at_most_ms is None or at_ms <= at_most_ms
                ),
                reverse=True,
            )
            found.extend(IndexEntry(process_id, at_ms) for at_ms, process_id in members[skip : skip + limit])
        return found

    async def counts(self, indexes: Sequence[str]) -> Sequence[int]:
        await self._call()
        return [sum(len(shard.indexes.get(index, {})) for shard in self._shards.values()) for index in indexes]

    async def blobs(self, process_ids: Sequence[str]) -> Sequence[bytes | None]:
        await self._call()
        return [self._shard(partition_of(process_id, SHARDS)).blobs.get(process_id) for process_id in process_ids]

    async def history(self, process_id: str, start: int, limit: int) -> Sequence[bytes]:
        await self._call()
        return self._shard(partition_of(process_id, SHARDS)).history.get(process_id, [])[start : start + limit]

    async def refusals(self) -> Mapping[int, bytes]:
        await self._call()
        return dict(self._refusals)
