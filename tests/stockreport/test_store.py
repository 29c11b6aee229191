"""Both stores keep the newest level of each sku and warehouse, in whatever order the events come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stockreport.levels import Level, LevelStore
from services.stockreport.store_memory import MemoryLevels
from services.stockreport.store_redis import RedisLevels, open_levels
from tests.services.redis_process import redis_folder, running_redis, url_in


@pytest.fixture(scope="session")
def levels_redis() -> Iterator[str]:
    with redis_folder() as folder, running_redis(folder):
        yield url_in(folder)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LevelStore]:
    if request.param == "memory":
        yield MemoryLevels()
        return
    async with open_levels(request.getfixturevalue("levels_redis")) as client:
        await client.flushdb()
        yield RedisLevels(client)


async def all_of(store: LevelStore) -> list[Level]:
    return sorted([level async for level in store.levels()])


async def test_the_highest_revision_wins(store: LevelStore) -> None:
    assert await store.note(Level("milk", "east wing", 10, 1, 5))
    assert not await store.note(Level("milk", "east wing", 99, 9, 5))
    assert not await store.note(Level("milk", "east wing", 99, 9, 4))
    assert await store.note(Level("milk", "west", 3, 0, 1))
    assert await store.note(Level("milk", "east wing", 8, 2, 10))
    assert await all_of(store) == [Level("milk", "east wing", 8, 2, 10), Level("milk", "west", 3, 0, 1)]


async def test_many_at_once(store: LevelStore) -> None:
    noted = [Level(f"s{number}", "east", number, 0, revision) for revision in (1, 2) for number in range(500)]
    await asyncio.gather(*(store.note(level) for level in noted))
    assert await all_of(store) == sorted(noted[500:])


@given(st.permutations(range(6)))
def test_order_does_not_matter(order: list[int]) -> None:
    async def scenario() -> None:
        memory = MemoryLevels()
        for revision in order:
            await memory.note(Level("milk", "east", revision * 10, revision, revision))
        assert await all_of(memory) == [Level("milk", "east", 50, 5, 5)]

    asyncio.run(scenario())
