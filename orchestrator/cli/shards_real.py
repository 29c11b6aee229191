"""What `counterpoint recover` needs of the real stack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from contracts.topics import INBOX, SHARDS
from operations.endpoints import Endpoints
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.group_offsets_kafka import group_offsets
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.inspection import Inspection, refusals_of
from orchestrator.runtime.log import Log
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readmodel import ReadModel
from orchestrator.runtime.recovery import Damage, Order, encode_order
from orchestrator.runtime.restore import Restorer
from orchestrator.runtime.rules import rules_of
from orchestrator.runtime.snapshot_store import WholeStore
from orchestrator.runtime.store_redis import RedisStore


class ShardKeeping:
    """A `ShardKeeper` over the runtime's ports. `committed` asks for the engine group's offsets."""

    def __init__(
        self, log: Log, store: WholeStore, committed: Callable[[], Awaitable[Mapping[int, int | None]]]
    ) -> None:
        self._log = log
        self._store = store
        self._committed = committed

    async def damages(self, shards: Sequence[int]) -> Sequence[Damage]:
        rules = rules_of(SagaBook([]))
        metrics = Metrics(CollectorRegistry()).snapshots
        restorer = Restorer(self._log, self._store, rules, metrics, lambda: "")
        refused = await ReadModel(self._store).refused_shards()
        reader = await self._log.reader()
        try:
            inspection = Inspection(
                reader, self._store, restorer, rules.semantics, await self._committed(),
                refusals_of([(one.shard, one.code, one.text) for one in refused]),
            )  # fmt: skip
            return await inspection.damages(shards)
        finally:
            await reader.close()

    async def order(self, orders: Sequence[Order]) -> None:
        await self._store.set_orders({order.shard: encode_order(order) for order in orders})

    async def unfinished(self, shards: Sequence[int]) -> Mapping[int, str]:
        orders = await self._store.orders(shards)
        refused = {one.shard: one.text for one in await ReadModel(self._store).refused_shards()}
        return {
            number: refused.get(number, "no engine has taken the order yet; the next one to start does")
            for number in shards
            if number in orders or number in refused
        }


@asynccontextmanager
async def open_shards(endpoints: Endpoints) -> AsyncIterator[ShardKeeping]:
    store = RedisStore(endpoints.redis.orchestrator)
    try:
        yield ShardKeeping(
            KafkaLog(endpoints.kafka, "recover"),
            store,
            lambda: group_offsets(endpoints.kafka, ENGINE_GROUP, INBOX, SHARDS),
        )
    finally:
        await store.close()
