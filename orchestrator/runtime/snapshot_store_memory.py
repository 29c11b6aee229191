"""`SnapshotStore` in memory: a part of MemoryStore."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.runtime.snapshot_store import (
    Cover,
    CutState,
    Mark,
    Restored,
    ShortHistory,
    StaleRestore,
    Uncovered,
    blob_sha,
)
from orchestrator.runtime.store import ShardPosition

if TYPE_CHECKING:
    from orchestrator.runtime.store_memory import _ShardState


class MemorySnapshots:
    _orders: dict[int, bytes]

    def _shard(self, number: int) -> _ShardState:
        raise NotImplementedError

    async def _call(self) -> None:
        raise NotImplementedError

    async def cut_states(self, shards: Collection[int]) -> Mapping[int, CutState]:
        await self._call()
        return {number: self._shard(number).cut for number in shards}

    async def set_cut_state(self, shard: int, state: CutState) -> None:
        await self._call()
        self._shard(shard).cut = state

    async def uncovered(self, shard: int, below: int, limit: int) -> Uncovered:
        await self._call()
        held = self._shard(shard)
        found = sorted((at, name) for name, at in held.uncovered.items() if at < below)
        next_offset = None if held.position is None else held.position.next
        return Uncovered(next_offset, tuple(name for _, name in found[:limit]))

    async def oldest_uncovered(self, shard: int) -> int | None:
        await self._call()
        return min(self._shard(shard).uncovered.values(), default=None)

    async def marks(self, shard: int, process_ids: Sequence[str]) -> Sequence[Mark | None]:
        await self._call()
        return [self._shard(shard).marks.get(name) for name in process_ids]

    async def cover(self, shard: int, covers: Sequence[Cover]) -> None:
        await self._call()
        held = self._shard(shard)
        if held.position is None:
            return
        for cover in covers:
            name, mark, known = cover.process_id, cover.mark, held.marks.get(cover.process_id)
            if known is not None and known.next > mark.next:
                held.uncovered[name] = min(held.uncovered.get(name, mark.next), mark.next)
                continue
            held.marks[name] = mark
            blob = held.blobs.get(name)
            if blob_sha(blob) == cover.blob_sha:
                held.uncovered.pop(name, None)
            else:
                held.uncovered[name] = mark.next
            if blob is None and not cover.blob_sha:
                held.gone[name] = mark.next
            else:
                held.gone.pop(name, None)

    async def gone(self, shard: int, below: int, limit: int) -> Sequence[str]:
        await self._call()
        found = sorted((at, name) for name, at in self._shard(shard).gone.items() if at < below)
        return [name for _, name in found[:limit]]

    async def forget_gone(self, shard: int, process_ids: Sequence[str]) -> None:
        await self._call()
        for name in process_ids:
            self._shard(shard).gone.pop(name, None)
            self._shard(shard).marks.pop(name, None)

    async def enroll(self, shard: int, cursor: int) -> int:
        await self._call()
        held = self._shard(shard)
        for name in held.blobs:
            held.uncovered[name] = 0
            if name in held.marks:
                held.marks[name] = replace(held.marks[name], next=0)
        return 0

    async def ahead(self, shard: int, position: int) -> Mapping[str, int]:
        await self._call()
        return {name: at for name, at in self._shard(shard).ahead.items() if at > position}

    async def begin_restore(self, shard: int, token: str) -> None:
        await self._call()
        held = self._shard(shard)
        if held.position is not None:
            raise StaleRestore(f"shard {shard} has a position")
        held.clear()
        held.restoring = token

    def _restoring(self, shard: int, token: str) -> _ShardState:
        held = self._shard(shard)
        if held.position is not None or held.restoring != token:
            raise StaleRestore(f"shard {shard} is restored by somebody else")
        return held

    async def restore_history(
        self, shard: int, token: str, process_id: str, first: int, entries: Sequence[bytes]
    ) -> None:
        await self._call()
        history = self._restoring(shard, token).history.setdefault(process_id, [])
        if first == 0:
            history.clear()
        if len(history) != first:
            raise ShortHistory(f"{process_id}: {len(history)} entries of history, not {first}")
        history.extend(entries)

    async def restore(self, shard: int, token: str, processes: Sequence[Restored]) -> None:
        await self._call()
        held = self._restoring(shard, token)
        for one in processes:
            name, write, entries = one.process_id, one.write, one.mark.entries
            history = held.history.get(name, [])
            if len(history) < entries:
                raise ShortHistory(f"{name}: {len(history)} entries of history, not {entries}")
            del history[entries:]
            held.marks[name] = one.mark
            if one.ahead:
                held.ahead[name] = one.mark.next
            if write.blob is None:
                held.gone[name] = one.mark.next
                continue
            held.sagas.add(one.saga)
            held.blobs[name] = write.blob
            held.timers.update(((name, timer), due) for timer, due in write.timers_set)
            for index in write.indexes:
                held.indexes.setdefault(index, {})[name] = write.updated_at_ms

    async def finish_restore(self, shard: int, token: str, position: ShardPosition) -> None:
        await self._call()
        held = self._restoring(shard, token)
        held.position, held.restoring = position, None
        held.cut = CutState(offset=position.next, complete=True)

    async def adopt(self, shard: int, expected_next: int | None, position: ShardPosition | None) -> bool:
        await self._call()
        held = self._shard(shard)
        if (None if held.position is None else held.position.next) != expected_next:
            return False
        held.position = position
        if (None if position is None else position.next) != expected_next:
            held.ahead.clear()
        return True

    async def orders(self, shards: Collection[int]) -> Mapping[int, bytes]:
        await self._call()
        return {number: self._orders[number] for number in shards if number in self._orders}

    async def set_orders(self, orders: Mapping[int, bytes | None]) -> None:
        await self._call()
        for number, order in orders.items():
            if order is None:
                self._orders.pop(number, None)
            else:
                self._orders[number] = order
