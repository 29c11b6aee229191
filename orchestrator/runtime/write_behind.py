"""Write-behind: accepted work goes to the store in the background, and the group's offset to the log.

The group's offset says how far effects are published, the store how far state is folded (DESIGN section 2). Both only
ever see positions whose effects are acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from contracts.topics import INBOX
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.log import LogUnavailable, Place
from orchestrator.runtime.metrics import EngineMetrics
from orchestrator.runtime.ownership import Ownership
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.shard import Shard
from orchestrator.runtime.store import Checkpoint, ShardStore, StoreUnavailable, WriteResult

log = structlog.get_logger(__name__)

PROBLEM = "checkpoint"
COMMIT_INTERVAL_S = 0.25
"""The group's offset may trail the store's: it is asked for only where the store is behind it (gone, or back in
time), and what is sent again then has the same ids. Encoding one commit of 64 partitions takes the client 70 us,
without the answer."""


class WriteBehind:
    """`new_id` gives every checkpoint an id of its own."""

    def __init__(
        self,
        ownership: Ownership,
        store: ShardStore,
        metrics: EngineMetrics,
        readiness: Readiness,
        new_id: Callable[[], str],
    ) -> None:
        self._ownership = ownership
        self._store = store
        self._metrics = metrics
        self._readiness = readiness
        self._new_id = new_id
        self._lock = asyncio.Lock()
        self._stored_at: float | None = None
        """When the last flush began that stored all there was (event loop time)."""

    async def run(self, interval_s: float) -> None:
        """Flush every `interval_s`, for ever; a store that is away is waited out."""
        backoff, loop, commit_at = Backoff(first_s=interval_s), asyncio.get_running_loop(), 0.0
        while True:
            due = loop.time() >= commit_at
            if due:
                commit_at = loop.time() + COMMIT_INTERVAL_S
            if await self.flush(commit=due):
                backoff.reset()
                await asyncio.sleep(interval_s)
            else:
                await asyncio.sleep(backoff.next_s())

    async def flush(self, *, commit: bool = True) -> bool:
        """Store all that is accepted now, and commit its position. False: the store is away, all is kept for later."""
        async with self._lock:
            if not commit:
                return await self._store_all()
            # Both have ended when this has, also when it is cancelled: the lock is not free while one still writes.
            committed, stored = await asyncio.gather(self._commit(), self._store_all(), return_exceptions=True)
            for ended in (committed, stored):
                if isinstance(ended, BaseException):
                    raise ended
            return stored is True

    async def _commit(self) -> None:
        known = self._ownership.committed
        due = {n: s.position for n, s in self._ownership.active.items() if s.position > known.get(n, -1)}
        if not due:
            return
        try:
            done = await self._ownership.subscription.commit({Place(INBOX, n): offset for n, offset in due.items()})
        except LogUnavailable as error:
            log.warning("offsets are not committed yet", error=str(error))
            return
        if done:
            known.update((n, offset) for n, offset in due.items() if n in self._ownership.active)

    async def _store_all(self) -> bool:
        """Rounds of one segment a shard, until what was accepted at the start is stored."""
        now = asyncio.get_running_loop().time()
        targets = [(shard, shard.position) for shard in self._ownership.active.values() if shard.dirty]
        self._metrics.checkpoint_age(now - self._stored_at if targets and self._stored_at is not None else 0.0)
        while targets:
            if not await self._round([shard for shard, _ in targets]):
                return False
            targets = [(shard, to) for shard, to in targets if self._current(shard) and (shard.stored_next or 0) < to]
        self._readiness.set(PROBLEM, None)
        self._stored_at = now
        return True

    async def _round(self, shards: list[Shard]) -> bool:
        pairs: list[tuple[Shard, Checkpoint]] = []
        for shard in shards:
            checkpoint = shard.cut(self._new_id())
            if checkpoint is not None:
                pairs.append((shard, checkpoint))
        if not pairs:
            return True
        try:
            results = await self._store.write([checkpoint for _, checkpoint in pairs])
        except StoreUnavailable as error:
            self._readiness.set(PROBLEM, f"the store is away: {error}")
            return False
        moved = []
        for (shard, checkpoint), result in zip(pairs, results, strict=True):
            self._metrics.checkpoint(checkpoint, result)
            if not self._current(shard):
                continue
            if result is WriteResult.MISMATCH:
                moved.append(shard.number)
            else:
                shard.confirm()
        self._ownership.restart(moved, "store-moved")
        return True

    def _current(self, shard: Shard) -> bool:
        return self._ownership.active.get(shard.number) is shard
