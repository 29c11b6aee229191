"""The memory of keys: both adapters, one suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.gateway.keys import Entry, KeyMemory
from services.gateway.keys_memory import MemoryKeys
from services.gateway.keys_redis import RedisKeys
from services.sdk.failures import StoreAwayError
from services.sdk.inbox_redis import open_redis
from tests.services.redis_process import redis_folder, running_redis, url_in

ENTRY = Entry("fingerprint", "event", 1_800_000_000_000, answered=False)
KEEP_MS = 60_000


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with redis_folder() as folder, running_redis(folder):
        yield folder


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def keys(request: pytest.FixtureRequest) -> AsyncIterator[KeyMemory]:
    if request.param == "memory":
        yield MemoryKeys(lambda: 1_800_000_000_000)
        return
    async with open_redis(url_in(request.getfixturevalue("folder"))) as client:
        await client.flushdb()
        yield RedisKeys(client)


async def test_the_first_to_reserve_is_kept(keys: KeyMemory) -> None:
    other = ENTRY._replace(fingerprint="other", event_id="another")
    assert await keys.reserve("k", ENTRY, KEEP_MS) == ENTRY
    assert await keys.reserve("k", other, KEEP_MS) == ENTRY
    assert await keys.reserve("k2", other, KEEP_MS) == other


async def test_an_answered_entry_says_so(keys: KeyMemory) -> None:
    await keys.reserve("k", ENTRY, KEEP_MS)
    for _ in range(2):
        await keys.settle("k", ENTRY, KEEP_MS)
    assert await keys.reserve("k", ENTRY, KEEP_MS) == ENTRY._replace(answered=True)


async def test_names_are_any_text(keys: KeyMemory) -> None:
    names = ["a\x1fb", "a b", "ä", "x" * 10_000]
    for name in names:
        await keys.reserve(name, ENTRY._replace(event_id=name[:9]), KEEP_MS)
    assert [(await keys.reserve(name, ENTRY, KEEP_MS)).event_id for name in names] == [name[:9] for name in names]


@pytest.mark.stack
async def test_redis_forgets_after_the_retention(folder: Path) -> None:
    async with open_redis(url_in(folder)) as client:
        await client.flushdb()
        keys = RedisKeys(client)
        await keys.reserve("k", ENTRY, KEEP_MS)
        await keys.settle("k2", ENTRY, KEEP_MS)
        for key in await client.keys("*"):
            assert 0 < await client.pttl(key) <= KEEP_MS


@pytest.mark.stack
async def test_a_redis_that_is_away_is_said_to_be() -> None:
    with redis_folder() as folder:
        async with open_redis(url_in(folder)) as client:
            with pytest.raises(StoreAwayError):
                await RedisKeys(client).reserve("k", ENTRY, KEEP_MS)
            assert "away" in str(await RedisKeys(client).ping())
