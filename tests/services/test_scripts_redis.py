"""Many scripts in one round trip: each call has its own reply, failure and end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from services.inventory.store_redis import open_client
from services.sdk.inbox_redis import open_redis
from services.sdk.scripts_redis import CALLS_MAX, Script, ScriptLine
from tests.services.redis_process import redis_folder, running_redis, url_in

pytestmark = pytest.mark.stack
COUNT = Script.of("return redis.call('INCRBY', KEYS[1], ARGV[1])")
BROKEN = Script.of("return redis.call('INCRBY', KEYS[1], 'x')")


async def _loaded(client: Redis) -> None:
    """This Redis takes connections before it has read its file."""
    while True:
        try:
            await cast("Awaitable[bool]", client.ping())
            return
        except BusyLoadingError:
            await asyncio.sleep(0.01)


async def test_every_call_has_its_reply_whatever_became_of_its_neighbours(redis_client: Redis) -> None:
    line = ScriptLine(redis_client)
    calls = [line.call(BROKEN if n % 5 == 0 else COUNT, (f"n{n}",), (n,)) for n in range(3 * CALLS_MAX)]
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert [reply for n, reply in enumerate(replies) if n % 5] == [n for n in range(3 * CALLS_MAX) if n % 5]
    assert all(isinstance(reply, ResponseError) for reply in replies[::5])
    with pytest.raises(ResponseError):
        await line.call(BROKEN, ("n",), ())


async def test_scripts_that_redis_forgot_are_taught_again_and_run_once(redis_client: Redis) -> None:
    line = ScriptLine(redis_client)
    assert await line.call(COUNT, ("n",), (1,)) == 1
    await redis_client.script_flush()
    assert await asyncio.gather(line.call(COUNT, ("n",), (1,)), line.call(COUNT, ("n",), (1,))) == [2, 3]


async def test_calls_of_one_turn_share_a_round_trip(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    line, trips = ScriptLine(redis_client), []
    exchange = line._exchange

    async def counted(calls: list[object]) -> list[object]:
        trips.append(len(calls))
        return await exchange(calls)  # type: ignore[arg-type]

    monkeypatch.setattr(line, "_exchange", counted)
    await line.call(COUNT, ("n",), (1,))
    trips.clear()
    await asyncio.gather(*(line.call(COUNT, ("n",), (1,)) for _ in range(CALLS_MAX + 1)))
    assert trips == [CALLS_MAX, 1]


async def test_a_call_that_is_given_up_leaves_the_others_alone(redis_client: Redis) -> None:
    line = ScriptLine(redis_client)
    first, second = (asyncio.create_task(line.call(COUNT, (name,), (7,))) for name in ("a", "b"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 7
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_lost_connection_is_every_waiting_calls_failure_and_the_next_call_works() -> None:
    with redis_folder() as folder:
        # This client does not try again.
        client = open_redis(url_in(folder))
        line = ScriptLine(client)
        with running_redis(folder):
            await _loaded(client)
            assert await line.call(COUNT, ("n",), (1,)) == 1
        failed = [asyncio.create_task(line.call(COUNT, ("n",), (1,))) for _ in range(3)]
        await asyncio.wait(failed)
        assert all(isinstance(one.exception(), RedisConnectionError) for one in failed)
        with running_redis(folder):
            await _loaded(client)
            assert await line.call(COUNT, ("n",), (1,)) == 2
        await client.aclose()


async def test_nobody_waits_for_a_redis_that_is_away_once_all_have_given_up() -> None:
    with redis_folder() as folder:
        async with open_client(url_in(folder)) as client:
            line = ScriptLine(client)
            waiting = [asyncio.create_task(line.call(COUNT, ("n",), (1,))) for _ in range(2)]
            await asyncio.sleep(0.05)
            for call in waiting:
                call.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            later = asyncio.create_task(line.call(COUNT, ("n",), (1,)))
            with running_redis(folder):
                assert await later == 1
