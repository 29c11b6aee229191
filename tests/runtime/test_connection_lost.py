"""A Redis that dies in the very turn of the event loop in which it is written to is away, like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop
from redis.asyncio import Redis

from orchestrator.runtime.store import StoreUnavailable
from orchestrator.runtime.store_redis import RedisStore
from services.sdk.failures import StoreAwayError
from services.sdk.inbox_redis import RedisInbox, open_redis
from tests.runtime.real import private_redis


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with private_redis() as url:
        yield url


async def cut_and_call(client: Redis, call: Callable[[], Awaitable[object]]) -> None:
    await call()
    for connection in client.connection_pool._available_connections:
        connection._writer.transport.abort()
    await call()


def test_the_orchestrators_store_is_unavailable(redis_url: str) -> None:
    async def work() -> None:
        store = RedisStore(redis_url)
        assert store._client is not None
        try:
            with pytest.raises(StoreUnavailable, match="the handler is closed"):
                await cut_and_call(store._client, lambda: store.counts(["a"]))
            assert await store.counts(["a"]) == [0]
        finally:
            await store.close()

    uvloop.run(work())


def test_a_services_inbox_is_away(redis_url: str) -> None:
    async def work() -> None:
        client = open_redis(redis_url)
        inbox = RedisInbox(client, "payment")
        try:
            with pytest.raises(StoreAwayError, match="the handler is closed"):
                await cut_and_call(client, inbox.positions)
            assert await inbox.positions() == {}
        finally:
            await client.aclose()

    uvloop.run(work())


def test_a_programmers_error_is_not_taken_for_a_lost_connection(redis_url: str) -> None:
    async def work() -> None:
        store = RedisStore(redis_url)

        async def broken(commands: object) -> None:
            raise RuntimeError("a bug")

        store._send = broken  # type: ignore[method-assign,assignment]
        try:
            with pytest.raises(RuntimeError, match="a bug"):
                await store.counts(["a"])
        finally:
            await store.close()

    uvloop.run(work())
