"""The engine: decide -> publish the effects and await every ack -> checkpoint (DESIGN section 2, in this order).

`step` is one batch over all shards; `run` repeats it, with claims and write-behind beside it, until `stop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.log import (
    Appender,
    AppendFailed,
    AppendRefused,
    Log,
    LogUnavailable,
    Place,
    PositionLost,
    Subscription,
)
from orchestrator.runtime.metrics import EngineMetrics
from orchestrator.runtime.ownership import EFFECT_REFUSED, Ownership
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.shard import Folded, Halt, Item, Shard, StoreMoved
from orchestrator.runtime.store import Loaded, ShardStore, StoreUnavailable
from orchestrator.runtime.write_behind import WriteBehind

log = structlog.get_logger(__name__)

REVIEW_S = 30.0
"""How often refused shards are looked at again."""
STORED_REVIEW_S = 2.0
"""How often the positions of shards at rest are compared with what the store has."""
LAG_S = 1.0
"""How often the lag gauge is renewed."""


CANCEL_AGAIN_S = 1.0
"""A task that goes on for so long after it was cancelled is cancelled again."""


async def end_all(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended. Once is not enough: a driver may lose a cancellation (redis-py turns one that
    meets a failing connect into an error like any other), and a loop that waits errors out would go on for ever."""
    pending: Collection[asyncio.Task[None]] = [task for task in tasks if not task.done()]
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    instance: str
    """Names this engine among others; stable over restarts."""
    checkpoint_interval_s: float = 0.05
    cache_processes: int = 1_000
    """Processes held in memory, per shard."""
    unstored_inputs_max: int = 50_000
    """Inputs that are published but not yet in the store, over all shards; at the limit the engine waits."""
    poll_ms: int = 200


class EngineLoop:
    """One engine. Construct, `open`, then `run` (or, in a simulation, `claim`, `step` and `flush` by hand), then
    `close`."""

    def __init__(
        self,
        log: Log,
        store: ShardStore,
        rules: Rules,
        metrics: EngineMetrics,
        readiness: Readiness,
        settings: EngineSettings,
        *,
        new_id: Callable[[], str],
        on_append: Callable[[int], None] = lambda at_ms: None,
    ) -> None:
        """`on_append` hears the broker's time with every acknowledged batch, in milliseconds."""
        self._log = log
        self._store = store
        self._metrics = metrics
        self._readiness = readiness
        self._settings = settings
        self._on_append = on_append
        self.ownership = Ownership(
            store,
            rules,
            metrics,
            instance=settings.instance,
            cache_limit=settings.cache_processes,
            leaving=self._leaving,
        )
        self._write_behind = WriteBehind(self.ownership, store, metrics, readiness, new_id)
        self._batch = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._publish_backoff = Backoff()
        self._subscription: Subscription | None = None
        self._appender: Appender | None = None

    async def open(self) -> None:
        """Join the group. Shards come later."""
        self._appender = await self._log.appender()
        self._subscription = await self._log.subscribe(ENGINE_GROUP, frozenset((INBOX,)), self.ownership, "claimed")
        self.ownership.attach(self._subscription)
        self._readiness.watch(self._problem)

    def _problem(self) -> str | None:
        found = [self._subscription.problem if self._subscription else None, self.ownership.problem()]
        return "; ".join(f"engine: {text}" for text in found if text) or None

    async def run(self) -> None:
        """Work until `stop`; then finish the batch and store it. Raises only for a programmer's error."""
        background = [
            asyncio.create_task(self._write_behind.run(self._settings.checkpoint_interval_s), name="write-behind"),
            asyncio.create_task(self._claim_forever(), name="claims"),
        ]
        main = asyncio.create_task(self._step_forever(), name="engine")
        try:
            done, _ = await asyncio.wait((main, *background), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None:
                    log.error("the engine ends", part=task.get_name(), error=repr(error), exc_info=error)
                task.result()
        finally:
            await end_all((main, *background))
        await self.flush()

    def stop(self) -> None:
        """Ask `run` to end after the batch under way."""
        self._stopping.set()

    async def close(self) -> None:
        """Leave the group and drop the connections. What is not stored is folded again by the next owner."""
        if self._subscription is not None:
            await self._subscription.close()
        if self._appender is not None:
            await self._appender.close()

    async def flush(self) -> bool:
        """Store all that is accepted. False: the store is away."""
        return await self._write_behind.flush()

    async def claim(self) -> None:
        """Claim the shards that wait for it. Raises StoreUnavailable or LogUnavailable."""
        await self.ownership.claim_pending()

    async def _leaving(self) -> None:
        async with self._batch:
            await self._write_behind.flush()

    async def _step_forever(self) -> None:
        lag_due = 0.0
        while not self._stopping.is_set():
            await self.step(self._settings.poll_ms)
            now = asyncio.get_running_loop().time()
            if now >= lag_due and self._subscription is not None:
                self._metrics.lag(self._subscription.lag())
                lag_due = now + LAG_S

    async def _claim_forever(self) -> None:
        loop, backoff = asyncio.get_running_loop(), Backoff()
        review_at = loop.time() + REVIEW_S
        stored_at = loop.time() + STORED_REVIEW_S
        while True:
            if loop.time() >= review_at:
                self.ownership.review_refused()
                review_at = loop.time() + REVIEW_S
            try:
                if loop.time() >= stored_at:
                    await self.ownership.review_stored()
                    stored_at = loop.time() + STORED_REVIEW_S
                await self.claim()
            except (StoreUnavailable, LogUnavailable) as error:
                log.warning("claims wait", error=str(error))
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            await self.ownership.wait_for_pending(min(review_at, stored_at) - loop.time())

    async def step(self, timeout_ms: int) -> int:
        """One batch; returns how many inputs were folded and published."""
        assert self._subscription is not None, "open comes before step"
        await self._wait_for_room()
        try:
            polled = await self._subscription.poll(timeout_ms)
        except PositionLost as error:
            self.ownership.restart([place.partition for place in error.places], "position-lost")
            return 0
        if not polled:
            return 0
        async with self._batch:
            try:
                return await self._work(polled)
            except BaseException:
                # The subscription has passed these records, and it is not known which of them count.
                self.ownership.restart([place.partition for place in polled], "interrupted")
                raise

    async def _wait_for_room(self) -> None:
        backoff = Backoff()
        while sum(s.unstored_inputs for s in self.ownership.active.values()) > self._settings.unstored_inputs_max:
            if not await self._write_behind.flush():
                await asyncio.sleep(backoff.next_s())

    async def _work(self, polled: Mapping[Place, Sequence[IncomingRecord]]) -> int:
        batch = await self._loaded(await self._read(polled))
        folds = [(shard, shard.fold(items)) for shard, items in batch]
        if not await self._publish(folds):
            return 0
        inputs = 0
        for shard, folded in folds:
            shard.accept(folded)
            inputs += sum(segment.inputs for segment in folded.segments)
            self._metrics.folded(folded)
            if folded.halt is not None:
                await self._halt(shard, folded.halt)
        return inputs

    async def _read(self, polled: Mapping[Place, Sequence[IncomingRecord]]) -> list[tuple[Shard, list[Item]]]:
        """What active shards may fold. A gap after their position is a doubt like any other."""
        batch: list[tuple[Shard, list[Item]]] = []
        for place, polled_records in polled.items():
            records = await self.ownership.verify(place.partition, polled_records)
            shard = self.ownership.active.get(place.partition)
            if shard is None or shard.halted is not None or not records:
                continue
            items = shard.read(records)
            if items:
                batch.append((shard, items))
            read_to = items[-1][0].offset if items else shard.position - 1
            if records[-1].offset > read_to:
                log.warning("offsets are missing in the inbox", shard=shard.number, after=read_to)
                self.ownership.subscription.seek(place, read_to + 1)
        return batch

    async def _loaded(self, batch: list[tuple[Shard, list[Item]]]) -> list[tuple[Shard, list[Item]]]:
        """The part of the batch whose processes are all at hand. Waits for a store that is away."""
        wanted = {shard.number: missing for shard, items in batch if (missing := shard.missing(items))}
        backoff = Backoff()
        while wanted:
            try:
                loaded = await self._store.load(wanted)
            except StoreUnavailable as error:
                self._readiness.set("load", f"engine: the store is away: {error}")
                await asyncio.sleep(backoff.next_s())
                batch = [(shard, items) for shard, items in batch if self._current(shard)]
                wanted = {n: ids for n, ids in wanted.items() if n in {shard.number for shard, _ in batch}}
                continue
            self._readiness.set("load", None)
            self._metrics.loaded(sum(len(ids) for ids in wanted.values()))
            for shard, _ in batch:
                if shard.number in wanted and self._current(shard):
                    self._admit(shard, wanted[shard.number], loaded)
            break
        return [(shard, items) for shard, items in batch if self._current(shard)]

    def _admit(self, shard: Shard, wanted: Sequence[str], loaded: Mapping[int, Loaded]) -> None:
        try:
            shard.admit(wanted, loaded[shard.number])
        except StoreMoved as error:
            log.warning("the store moved", error=str(error))
            self.ownership.restart((shard.number,), "store-moved")

    def _current(self, shard: Shard) -> bool:
        return self.ownership.active.get(shard.number) is shard

    async def _publish(self, folds: Sequence[tuple[Shard, Folded]]) -> bool:
        """Append all effects of the batch and await every ack. False: the batch's shards start over."""
        effects: list[OutgoingRecord] = []
        for _, folded in folds:
            effects.extend(folded.effects)
        if not effects:
            return True
        assert self._appender is not None
        try:
            acks = await self._appender.append(effects)
        except AppendRefused as error:
            await self._refused(folds, error)
            return False
        except AppendFailed as error:
            self._readiness.set("publish", f"engine: effects are not acknowledged: {error}")
            self.ownership.restart([shard.number for shard, _ in folds], "append-failed")
            await asyncio.sleep(self._publish_backoff.next_s())
            return False
        self._publish_backoff.reset()
        self._readiness.set("publish", None)
        self._metrics.published(len(effects))
        if acks[-1].timestamp_ms is not None:
            self._on_append(acks[-1].timestamp_ms)
        return True

    async def _refused(self, folds: Sequence[tuple[Shard, Folded]], error: AppendRefused) -> None:
        """The log will not take one effect, ever: its shard halts, the others start over."""
        index = error.index
        for shard, folded in folds:
            if 0 <= index < len(folded.effects):
                shard.halted = Halt(EFFECT_REFUSED, f"shard {shard.number}: {error.detail}")
                await self._halt(shard, shard.halted)
            else:
                self.ownership.restart((shard.number,), "append-failed")
            index -= len(folded.effects)

    async def _halt(self, shard: Shard, halt: Halt) -> None:
        await self.ownership.refuse(shard.number, halt.code, f"{halt.text}: the shard waits before this input")
