"""Lines to the two stores: the orchestrator's (a MemoryStore, which may be away, answer twice or go back in time) and a
service's dedupe inbox (a MemoryInbox, a system of record, which may be away or lose an answer)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from orchestrator.runtime.store import (
    Checkpoint,
    DueTimer,
    Loaded,
    ShardPosition,
    StoreUnavailable,
    WriteResult,
)
from orchestrator.runtime.store_memory import MemoryStore
from services.sdk.failures import StoreAwayError
from services.sdk.inbox_memory import MemoryInbox
from services.sdk.ports import Exchange, Place, Reply
from tests.simulation.program import Program


class Images:
    """The store, and what a failover could bring back: images of it as it was."""

    IMAGES_MAX = 12

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.away = False
        self.lost_answers = 0
        self.repeated = 0
        self.seen: Counter[str] = Counter()
        """What happened, for the table of coverage."""
        self.on_write: Callable[[Checkpoint, WriteResult, Program], None] = lambda checkpoint, result, program: None
        self._images: list[MemoryStore] = []
        self._writes = 0

    def written(self) -> None:
        self._writes += 1
        if self._writes % 3 == 0:
            self._images = [*self._images[-self.IMAGES_MAX :], self.store.image()]

    def rewind(self, pick: int) -> str:
        """Back to one of the last images; empty: there is none."""
        if not self._images:
            return ""
        back = 1 + pick % len(self._images)
        self.store.rewind(self._images[-back])
        del self._images[len(self._images) - back + 1 :]
        return f"{back} images back"

    def wipe(self) -> None:
        self.store.wipe()
        self._images.clear()


class StoreLine:
    """`ShardStore`, `TimerStore` and `SnapshotStore` of one program."""

    def __init__(self, images: Images, program: Program) -> None:
        self._images = images
        self._program = program

    async def _ask(self, what: str) -> MemoryStore:
        await self._program.cross(what)
        if self._images.away:
            self._images.seen["store away"] += 1
            raise StoreUnavailable("the store is away")
        return self._images.store

    async def positions(self, shards: Collection[int]) -> Mapping[int, ShardPosition | None]:
        found = await (await self._ask("positions?")).positions(shards)
        await self._program.cross("positions, answered")
        return found

    async def load(self, wanted: Mapping[int, Sequence[str]]) -> Mapping[int, Loaded]:
        found = await (await self._ask("load")).load(wanted)
        await self._program.cross("load, answered")
        return found

    async def write(self, checkpoints: Sequence[Checkpoint]) -> Sequence[WriteResult]:
        """redis-py repeats a script whose answer it has not seen: `repeated` makes it run twice."""
        images = self._images
        store = await self._ask("checkpoint")
        results = [store._apply(checkpoint) for checkpoint in checkpoints]
        for checkpoint, result in zip(checkpoints, results, strict=True):
            images.on_write(checkpoint, result, self._program)
        images.written()
        if images.repeated:
            images.repeated -= 1
            images.seen["store ran twice"] += 1
            store = await self._ask("checkpoint, by the client again")
            results = [store._apply(checkpoint) for checkpoint in checkpoints]
            for checkpoint, result in zip(checkpoints, results, strict=True):
                images.on_write(checkpoint, result, self._program)
        if images.lost_answers:
            images.lost_answers -= 1
            images.seen["store answer lost"] += 1
            raise StoreUnavailable("the answer was lost")
        await self._program.cross("checkpoint, answered")
        return results

    async def set_refusals(self, refusals: Mapping[int, bytes | None]) -> None:
        await (await self._ask("refusals")).set_refusals(refusals)

    async def due_timers(self, shards: Collection[int], until_ms: int, limit: int) -> Sequence[DueTimer]:
        found = await (await self._ask("timers?")).due_timers(shards, until_ms, limit)
        await self._program.cross("timers, found" if found else "timers, answered")
        return found


def _over_the_line(name: str) -> Callable[..., Any]:
    async def call(self: StoreLine, *given: Any) -> Any:
        found = await getattr(await self._ask(name), name)(*given)
        await self._program.cross(f"{name}, answered")
        return found

    return call


for _name in (
    "cut_states", "set_cut_state", "uncovered", "oldest_uncovered", "marks", "cover", "gone", "forget_gone", "enroll",
    "ahead", "begin_restore", "restore_history", "restore", "finish_restore", "adopt", "orders", "set_orders",
    "history",
):  # fmt: skip
    setattr(StoreLine, _name, _over_the_line(_name))


class ServiceStore:
    """One service's dedupe store, and its faults."""

    def __init__(self, now_ms: Callable[[], int], seen: Counter[str]) -> None:
        self.inbox = MemoryInbox(now_ms)
        self.seen = seen
        self.lost_answers = 0
        self._images: list[object] = []
        self._exchanges = 0

    def written(self) -> None:
        self._exchanges += 1
        if self._exchanges % 2 == 0:
            self._images = [*self._images[-Images.IMAGES_MAX :], self.inbox.snapshot()]

    def rewind(self, pick: int) -> str:
        if not self._images:
            return ""
        back = 1 + pick % len(self._images)
        self.inbox.restore(self._images[-back])
        del self._images[len(self._images) - back + 1 :]
        return f"a service's store goes {back} images back"


class InboxLine:
    """The SDK's `Inbox` of one program."""

    def __init__(self, store: ServiceStore, program: Program) -> None:
        self._store = store
        self._program = program

    async def check(self) -> Sequence[str]:
        await self._program.cross("inbox check")
        return await self._store.inbox.check()

    async def positions(self) -> dict[Place, int]:
        await self._program.cross("inbox positions?")
        return await self._store.inbox.positions()

    async def take(self, owner: str, session: str, positions: Mapping[Place, int]) -> None:
        await self._program.cross("inbox take")
        await self._store.inbox.take(owner, session, positions)
        await self._program.cross("inbox take, answered")

    async def exchange(self, owner: str, session: str, exchange: Exchange) -> Reply:
        await self._program.cross("exchange")
        reply = await self._store.inbox.exchange(owner, session, exchange)
        self._store.written()
        if self._store.lost_answers:
            self._store.lost_answers -= 1
            self._store.seen["inbox answer lost"] += 1
            raise StoreAwayError("the answer was lost")
        await self._program.cross("exchange, answered")
        return reply
