"""What this folder's tests share: a private Redis (on a unix socket, gone at the end) and the real sandbox."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from services.inventory.opening import open_local
from services.inventory.stock import StockStore
from services.inventory.store_memory import MemoryStock
from services.inventory.store_redis import RedisStock, open_client
from tests.services.redis_process import redis_folder, running_redis, url_in
from tests.services.sandbox_process import Sandbox, running_sandbox


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_folder() as folder, running_redis(folder):
        yield url_in(folder)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[Redis]:
    async with open_client(redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
def stock(request: pytest.FixtureRequest) -> StockStore:
    """Both adapters of the stock port, opening as the local stack does."""
    if request.param == "memory":
        return MemoryStock(open_local)
    return RedisStock(request.getfixturevalue("redis_client"), open_local)


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: Sandbox) -> Iterator[Sandbox]:
    """One sandbox for all tests; each has its own orders (`order`) and leaves no fault behind."""
    yield sandbox_process
    sandbox_process.behave()


@pytest.fixture
def order() -> str:
    """An order id of this test alone: the sandbox's ledger outlives a test."""
    return f"o-{uuid.uuid4().hex[:12]}"
