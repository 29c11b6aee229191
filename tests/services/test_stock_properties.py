"""Whatever comes in whatever order, twice or late: stock is conserved, never negative, and both adapters agree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from services.inventory.opening import open_local
from services.inventory.stock import Demand, Level, Movement, ReservationRevokedError, StockStore
from services.inventory.store_memory import MemoryStock
from services.inventory.store_redis import RedisStock

ORDERS = ("o1", "o2", "o3")
TRIES = (1, 2)
SKUS = ("scarce-tea", "scarce-milk", "scarce-jam", "plenty", "absent-salt")
OPENING = {"scarce-tea": 5, "scarce-milk": 5, "scarce-jam": 5, "plenty": 10_000}


@dataclass(frozen=True)
class Reserve:
    order: str
    attempt: int
    demands: tuple[Demand, ...]


@dataclass(frozen=True)
class Release:
    order: str
    undo: int
    covers: tuple[int, ...] | None


@dataclass(frozen=True)
class Dispatch:
    order: str
    event: int


Step = Reserve | Release | Dispatch

orders = st.sampled_from(ORDERS)
numbers = st.sampled_from(TRIES)
demands = st.lists(st.sampled_from(SKUS), min_size=1, max_size=4, unique=True).flatmap(
    lambda skus: st.tuples(*(st.builds(Demand, st.just(sku), st.sampled_from([1, 2, 3, 4_000])) for sku in skus))
)
# The demands of one try never change: a repeat under the same id brings the same payload (the SDK refuses another).
catalogues = st.fixed_dictionaries({(order, attempt): demands for order in ORDERS for attempt in TRIES})
releases = st.builds(Release, orders, numbers, st.none() | st.sets(numbers).map(lambda s: tuple(sorted(s))))
dispatches = st.builds(Dispatch, orders, numbers)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    catalogue = draw(catalogues)
    reserves = st.sampled_from(sorted(catalogue)).map(lambda key: Reserve(*key, catalogue[key]))
    return draw(st.lists(reserves | reserves | releases | dispatches, min_size=1, max_size=30))


async def take(stock: StockStore, step: Step, at_ms: int) -> Movement | str:
    match step:
        case Reserve(order, attempt, wanted):
            try:
                return await stock.reserve(order, f"r{attempt}", wanted, at_ms=at_ms)
            except ReservationRevokedError:
                return "revoked"
        case Release(order, undo, covers):
            ids = None if covers is None else tuple(f"r{attempt}" for attempt in covers)
            return await stock.release(order, f"u{undo}", ids, at_ms=at_ms)
        case Dispatch(order, event):
            return await stock.dispatch(order, f"d{event}", at_ms=at_ms)


def check_conserved(levels: Sequence[Level]) -> None:
    totals: dict[str, int] = {}
    for level in levels:
        assert min(level.on_hand, level.reserved, level.dispatched) >= 0, level
        totals[level.sku] = totals.get(level.sku, 0) + level.on_hand + level.reserved + level.dispatched
    assert totals == {sku: OPENING[sku] for sku in totals}


def check_revisions(movements: Sequence[Movement]) -> None:
    """Every change that was ever announced has its own revision, without gaps; repeats announce the same."""
    announced: dict[tuple[str, str], dict[int, object]] = {}
    for change in (change for movement in movements for change in movement.changes):
        seen = announced.setdefault((change.sku, change.warehouse), {})
        assert seen.setdefault(change.revision, change) == change
    for revisions in announced.values():
        assert sorted(revisions) == list(range(1, len(revisions) + 1))


@given(history=histories())
@settings(deadline=None, max_examples=150)
def test_any_history_conserves_stock(history: list[Step]) -> None:
    async def run() -> None:
        stock = MemoryStock(open_local)
        movements = []
        for at_ms, step in enumerate(history):
            answer = await take(stock, step, at_ms)
            if isinstance(answer, Movement):
                movements.append(answer)
            check_conserved([level async for level in stock.levels()])
        check_revisions(movements)

    asyncio.run(run())


@given(history=histories())
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.stack
def test_redis_answers_any_history_as_memory_does(redis_url: str, history: list[Step]) -> None:
    async def run() -> None:
        async with Redis.from_url(redis_url) as client:
            await client.flushdb()
            real, model = RedisStock(client, open_local), MemoryStock(open_local)
            for at_ms, step in enumerate(history):
                assert await take(real, step, at_ms) == await take(model, step, at_ms), step
            by_name = [sorted([level async for level in one.levels()], key=repr) for one in (real, model)]
            assert by_name[0] == by_name[1]

    asyncio.run(run())


@given(history=histories())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.stack
def test_any_history_at_once_conserves_stock(redis_url: str, history: list[Step]) -> None:
    async def run() -> None:
        async with Redis.from_url(redis_url) as client:
            await client.flushdb()
            stock = RedisStock(client, open_local)
            answers = await asyncio.gather(*(take(stock, step, at) for at, step in enumerate(history)))
            check_conserved([level async for level in stock.levels()])
            check_revisions([answer for answer in answers if isinstance(answer, Movement)])

    asyncio.run(run())


@pytest.mark.stack
async def test_fifty_orders_at_once_for_five_units(redis_client: Redis) -> None:
    stock = RedisStock(redis_client, open_local)
    wanted = (Demand("plenty", 1), Demand("scarce-tea", 1))

    answers = await asyncio.gather(*(stock.reserve(f"o{n}", f"r{n}", wanted, at_ms=n) for n in range(50)))

    assert sum(1 for answer in answers if answer.lines) == 5
    assert all(answer.lines or answer.shortages[0].available == 0 for answer in answers)
    levels = {level.warehouse: level async for level in stock.levels() if level.sku == "scarce-tea"}
    assert (levels["east"].on_hand, levels["east"].reserved) == (0, 5)
    check_conserved([level async for level in stock.levels()])
    check_revisions(answers)


@pytest.mark.stack
async def test_an_order_that_holds_nothing_is_forgotten_after_the_retention(redis_client: Redis) -> None:
    stock = RedisStock(redis_client, open_local)
    (key,) = [f"inventory:{{stock}}:order:{order}" for order in ("o1",)]

    await stock.reserve("o1", "r1", (Demand("scarce-tea", 9),), at_ms=1)
    assert await redis_client.pttl(key) > 0
    await stock.reserve("o1", "r2", (Demand("scarce-tea", 1),), at_ms=2)
    assert await redis_client.pttl(key) == -1
    await stock.dispatch("o1", "d1", at_ms=3)
    assert await redis_client.pttl(key) > 0
