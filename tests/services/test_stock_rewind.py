"""Inventory's store goes back in time, and the replay reserves in other warehouses than before: whoever goes by the
highest revision still knows the stock as it is (decision 0015). Over the memory store and over real Redis."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from redis.asyncio import Redis

from contracts.inventory import ReserveStock, StockChanged, StockLine
from services.inventory.handlers import service
from services.inventory.stock import Change, Demand, Level, Movement, StockStore
from services.inventory.store_memory import MemoryStock
from services.inventory.store_redis import RedisStock
from services.sdk.surroundings import system_surroundings
from services.sdk.testing import Harness

SKU = "tea"
Shelves = dict[str, tuple[int, int, int]]
"""By warehouse: revision, free, reserved."""
Rewinder = Callable[[], Awaitable[None]]


def opening(sku: str) -> dict[str, int]:
    return {"east": 5, "west": 4} if sku == SKU else {}


class Overtaken:
    """The store, but for one order that waits for another one once `gate` is there."""

    def __init__(self, inner: StockStore, slow: str, quick: str) -> None:
        self._inner = inner
        self._slow, self._quick = slow, quick
        self.gate: asyncio.Event | None = None
        self.release, self.dispatch = inner.release, inner.dispatch

    async def reserve(self, order_id: str, reservation_id: str, demands: tuple[Demand, ...], *, at_ms: int) -> Movement:
        if self.gate is not None and order_id == self._slow:
            await self.gate.wait()
        movement = await self._inner.reserve(order_id, reservation_id, demands, at_ms=at_ms)
        if self.gate is not None and order_id == self._quick:
            self.gate.set()
        return movement

    def renew(self, *, at_ms: int) -> AsyncIterator[tuple[Change, ...]]:
        return self._inner.renew(at_ms=at_ms)

    def levels(self) -> AsyncIterator[Level]:
        return self._inner.levels()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest) -> tuple[StockStore, Callable[[], Awaitable[Rewinder]]]:
    """A store, and a copy of it to be taken now: calling that puts it back."""
    if request.param == "memory":
        stock = MemoryStock(opening)

        async def copy_memory() -> Rewinder:
            kept = copy.deepcopy((stock._levels, stock._orders, stock._floor))

            async def back() -> None:
                stock._levels, stock._orders, stock._floor = copy.deepcopy(kept)

            return back

        return stock, copy_memory
    client: Redis = request.getfixturevalue("redis_client")

    async def copy_redis() -> Rewinder:
        kept = {key: await client.dump(key) for key in await client.keys("*")}

        async def back() -> None:
            await client.flushdb()
            for key, value in kept.items():
                await cast("Awaitable[object]", client.restore(key, 0, value))

        return back

    return RedisStock(client, opening), copy_redis


async def reserve(harness: Harness, order: str, quantity: int, sku: str = SKU) -> None:
    command = ReserveStock(order_id=order, lines=(StockLine(sku=sku, quantity=quantity),))
    await harness.deliver(command, id=f"p:{order}/reserve/1", process_id=f"p:{order}")


def announced(harness: Harness) -> Shelves:
    """As a reader who keeps the highest revision has it."""
    known: Shelves = {}
    for one in (harness._parsed(record) for record in harness.bus.published):
        if isinstance(one.message, StockChanged):
            told = one.message
            if told.revision >= known.get(told.warehouse, (0, 0, 0))[0]:
                known[told.warehouse] = told.revision, told.on_hand, told.reserved
    return known


async def shelves(stock: StockStore) -> Shelves:
    return {one.warehouse: (one.revision, one.on_hand, one.reserved) async for one in stock.levels()}


async def lost_window(harness: Harness) -> None:
    for order, quantity in (("o2", 2), ("o3", 1), ("o4", 1)):
        await reserve(harness, order, quantity)


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "while it is away"])
async def test_readers_know_the_stock_after_a_replay_that_chose_other_warehouses(
    store: tuple[StockStore, Callable[[], Awaitable[Rewinder]]], restarted: bool
) -> None:
    stock, take_copy = store
    overtaken = Overtaken(stock, slow="o2", quick="o3")
    async with Harness(service, [overtaken, system_surroundings()]) as harness:
        await reserve(harness, "o1", 2)
        inbox, back = harness.inbox.snapshot(), await take_copy()
        await lost_window(harness)
        lost = announced(harness)
        if restarted:
            await harness.kill()
        harness.inbox.restore(inbox)
        await back()
        overtaken.gate = asyncio.Event()
        await reserve(harness, "o5", 1, "absent")

        now = await shelves(stock)
        assert announced(harness) == now
        assert all(now[warehouse][0] > lost[warehouse][0] for warehouse in lost)
        assert sum(free + reserved for _, free, reserved in now.values()) == 9


async def test_the_harness_of_this_test_does_choose_other_warehouses(
    store: tuple[StockStore, Callable[[], Awaitable[Rewinder]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the service's part, a reader is left with what was lost: the test above can fail."""
    monkeypatch.setattr(service, "_after_rewind", None)
    stock, take_copy = store
    overtaken = Overtaken(stock, slow="o2", quick="o3")
    async with Harness(service, [overtaken, system_surroundings()]) as harness:
        await reserve(harness, "o1", 2)
        inbox, back = harness.inbox.snapshot(), await take_copy()
        await lost_window(harness)
        harness.inbox.restore(inbox)
        await back()
        overtaken.gate = asyncio.Event()
        await reserve(harness, "o5", 1, "absent")

        assert announced(harness) != await shelves(stock)


async def test_a_restart_alone_tells_nothing_again(
    store: tuple[StockStore, Callable[[], Awaitable[Rewinder]]],
) -> None:
    stock, _ = store
    async with Harness(service, [stock, system_surroundings()]) as harness:
        await reserve(harness, "o1", 2)
        before = len(harness.bus.published)
        await harness.restart()

        assert len(harness.bus.published) == before
