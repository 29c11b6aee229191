"""Redis goes away and comes back: a reservation waits, and is made once."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from services.inventory.opening import open_local
from services.inventory.stock import Demand
from services.inventory.store_redis import RedisStock, open_client
from tests.services.redis_process import redis_folder, running_redis, url_in

pytestmark = pytest.mark.stack
DEMANDS = (Demand("scarce-tea", 2),)


async def test_a_reservation_waits_out_a_killed_redis_and_what_was_answered_is_still_there() -> None:
    with redis_folder() as folder:
        async with open_client(url_in(folder)) as client:
            stock = RedisStock(client, open_local)
            with running_redis(folder):
                first = await stock.reserve("o1", "r1", DEMANDS, at_ms=1)
            waiting = asyncio.create_task(stock.reserve("o2", "r2", DEMANDS, at_ms=2))
            repeated = asyncio.create_task(stock.reserve("o1", "r1", DEMANDS, at_ms=3))
            await asyncio.sleep(0.1)
            assert not waiting.done()

            with running_redis(folder):
                await waiting
                assert await repeated == first
                levels = [(level.on_hand, level.reserved) async for level in stock.levels()]

    assert levels == [(1, 4)]


async def test_a_full_redis_is_waited_out_and_nothing_was_done_meanwhile(redis_client: Redis) -> None:
    """As the services' Redis with `noeviction`: a reaction to an event would be given up if this were its failure."""
    stock = RedisStock(redis_client, open_local)
    await stock.reserve("o1", "r1", (Demand("scarce-tea", 2),), at_ms=1)
    await redis_client.config_set("maxmemory", "1")
    try:
        dispatch = asyncio.create_task(stock.dispatch("o1", "d1", at_ms=2))
        done, _ = await asyncio.wait((dispatch,), timeout=0.5)
        assert not done
        assert [(one.reserved, one.dispatched) async for one in stock.levels()] == [(2, 0)]
    finally:
        await redis_client.config_set("maxmemory", "0")
    assert (await dispatch).lines
    assert [(one.reserved, one.dispatched) async for one in stock.levels()] == [(0, 2)]
