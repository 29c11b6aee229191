"""Redis goes away and comes back: a reservation waits, and is made once."""

from __future__ import annotations

import asyncio

import pytest

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
