"""The audit's store in memory: looks into a `MemoryStore` as `audit_redis` does into Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.audit_store import Mend, Name, Sight, Wanted
from orchestrator.runtime.store_memory import MemoryStore


class MemoryAuditStore:
    """Implements AuditStore."""

    def __init__(self, store: MemoryStore) -> None:
        # The two are one adapter in two files: the store's state is nobody else's business.
        self._shards = store._shards

    async def names(self, shards: frozenset[int] | None, page: int) -> AsyncIterator[Sequence[Name]]:
        every = list(self._names(shards))
        for first in range(0, len(every), page):
            yield every[first : first + page]

    def _names(self, shards: frozenset[int] | None) -> Iterator[Name]:
        for number, shard in self._shards.items():
            if shards is not None and number not in shards:
                continue
            yield from (Name(number, process_id, "state") for process_id in shard.blobs)
            yield from (Name(number, process_id, "history") for process_id in shard.history)
            yield from (Name(number, process_id, "timer", timer) for process_id, timer in shard.timers)
            for index, members in shard.indexes.items():
                yield from (Name(number, process_id, "index", index) for process_id in members)

    async def sights(self, wanted: Sequence[Wanted]) -> Sequence[Sight]:
        return [self._sight(one) for one in wanted]

    def _sight(self, wanted: Wanted) -> Sight:
        process_id = wanted.process_id
        shard = self._shards.get(partition_of(process_id, SHARDS))
        if shard is None:
            return Sight(process_id, None, 0)
        timers = {name: shard.timers[process_id, name] for name in wanted.timers if (process_id, name) in shard.timers}
        indexes = frozenset(name for name in wanted.indexes if process_id in shard.indexes.get(name, {}))
        history = len(shard.history.get(process_id, ()))
        return Sight(process_id, shard.blobs.get(process_id), history, timers, indexes)

    async def mend(self, mends: Sequence[Mend]) -> Sequence[bool]:
        return [self._mend(one) for one in mends]

    def _mend(self, mend: Mend) -> bool:
        process_id = mend.process_id
        shard = self._shards.get(partition_of(process_id, SHARDS))
        if shard is None or shard.blobs.get(process_id, b"") != mend.blob:
            return False
        for name in mend.timers_unset:
            shard.timers.pop((process_id, name), None)
        shard.timers.update(((process_id, name), due) for name, due in mend.timers_set)
        for index in mend.indexes_unset:
            shard.indexes.get(index, {}).pop(process_id, None)
        for index in mend.indexes_set:
            shard.indexes.setdefault(index, {})[process_id] = mend.updated_at_ms
        return True

    async def forget(self, shard: int) -> bool:
        self._shards.pop(shard, None)
        return True
