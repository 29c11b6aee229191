"""Both stores keep the same promises: one holder, fenced writes by compare-and-set, people's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from services.scheduler.due import State
from services.scheduler.store import RUNS_MAX, Lease, Move, Run, ScheduleStore, Settled, Told
from services.scheduler.store_memory import MemoryStore
from services.scheduler.store_redis import RedisStore
from services.sdk.failures import StoreAwayError
from services.sdk.inbox_redis import open_redis
from tests.services.redis_process import redis_folder, running_redis, url_in

LEASE_MS = 300_000
SHORT_MS = 50


@dataclass
class Bench:
    store: ScheduleStore
    expire: Callable[[], Awaitable[None]]
    """Lets a lease of SHORT_MS run out."""


@pytest.fixture(scope="session")
def schedules_redis() -> object:
    with redis_folder() as folder, running_redis(folder):
        yield url_in(folder)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        now = [0.0]

        async def pass_time() -> None:
            now[0] += SHORT_MS / 1_000 + 0.001

        yield Bench(MemoryStore(lambda: now[0]), pass_time)
        return
    client = open_redis(request.getfixturevalue("schedules_redis"))
    await client.flushdb()

    async def wait() -> None:
        while await client.exists("cps:{scheduler}:lease"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)

    try:
        yield Bench(RedisStore(client), wait)
    finally:
        await client.aclose()


async def held(store: ScheduleStore, holder: str = "a", lease_ms: int = LEASE_MS) -> Lease:
    lease = await store.hold(holder, lease_ms)
    assert lease is not None
    return lease


async def test_one_holds_the_lease_and_renews_it(bench: Bench) -> None:
    first = await held(bench.store)
    assert await bench.store.hold("b", LEASE_MS) is None
    assert await bench.store.hold("a", LEASE_MS) == first
    assert await bench.store.leader() == "a"


async def test_a_lease_that_ran_out_is_anybodys_and_the_fence_rises(bench: Bench) -> None:
    first = await held(bench.store, "a", SHORT_MS)
    await bench.expire()
    assert await bench.store.leader() is None
    second = await held(bench.store, "b")
    assert second.fence > first.fence
    assert await bench.store.settle(first, [Move("s", None, 1, "d")]) == [Settled.LOST]
    assert await bench.store.states(["s"]) == {}
    assert not await bench.store.declare(first, {"s": {}})


async def test_who_releases_what_another_holds_changes_nothing(bench: Bench) -> None:
    first = await held(bench.store, "a", SHORT_MS)
    await bench.expire()
    await held(bench.store, "b")
    await bench.store.release(first)
    assert await bench.store.leader() == "b"
    assert await bench.store.hold("a", LEASE_MS) is None


async def test_a_released_lease_is_free_at_once(bench: Bench) -> None:
    first = await held(bench.store)
    await bench.store.release(first)
    assert (await held(bench.store, "b")).fence > first.fence


async def test_a_position_moves_only_from_where_it_is_expected(bench: Bench) -> None:
    lease = await held(bench.store)
    moves = [
        Move("s", None, 100, "d"),
        Move("s", None, 200, "d"),
        Move("s", 100, 300, "d", (250, 300)),
        Move("s", 100, 400, "d"),
    ]
    settled = await bench.store.settle(lease, moves)
    assert settled == [Settled.DONE, Settled.MOVED, Settled.DONE, Settled.MOVED]
    assert await bench.store.states(["s", "t"]) == {"s": State(300, "d", fired_ms=300, fired=2)}
    assert await bench.store.settle(lease, [Move("s", 300, 310, "e")]) == [Settled.DONE]
    assert await bench.store.states(["s"]) == {"s": State(310, "e", fired_ms=300, fired=2)}


async def declared(bench: Bench) -> Lease:
    lease = await held(bench.store)
    assert await bench.store.declare(lease, {"s": {"cron": "* * * * *"}, "new": {}})
    await bench.store.settle(lease, [Move("s", None, 100, "d")])
    return lease


async def test_what_is_declared_replaces_what_was(bench: Bench) -> None:
    lease = await declared(bench)
    assert await bench.store.declared() == {"s": {"cron": "* * * * *"}, "new": {}}
    await bench.store.declare(lease, {"s": {"cron": "0 * * * *"}})
    assert await bench.store.declared() == {"s": {"cron": "0 * * * *"}}
    await bench.store.declare(lease, {})
    assert await bench.store.pause("s", "by ada") is Told.UNKNOWN


async def test_pause_and_resume_from_then_on(bench: Bench) -> None:
    lease = await declared(bench)
    assert await bench.store.resume("s", 500, "by bob") is Told.NOTHING
    assert await bench.store.pause("s", "by ada") is Told.DONE
    assert await bench.store.pause("s", "by ada") is Told.NOTHING
    assert (await bench.store.states(["s"]))["s"].paused
    assert await bench.store.settle(lease, [Move("s", 100, 110, "d")]) == [Settled.DONE]
    assert await bench.store.resume("s", 500, "by bob") is Told.DONE
    assert await bench.store.states(["s"]) == {"s": State(500, "d", told="by bob")}
    assert [await bench.store.pause(name, "by ada") for name in ("other", "new")] == [Told.UNKNOWN, Told.UNKNOWN]
    assert (await held(bench.store)).changes == 2


async def test_resume_brings_back_a_position_that_is_ahead(bench: Bench) -> None:
    await declared(bench)
    assert await bench.store.resume("s", 50, "by bob") is Told.DONE
    assert (await bench.store.states(["s"]))["s"].position_ms == 50


async def test_runs_wait_until_they_are_done(bench: Bench) -> None:
    await declared(bench)
    late, early = Run("s", "r1", 900), Run("s", "r2", 800)
    assert [await bench.store.ask(run, "by ada") for run in (late, early, early)] == [Told.DONE] * 3
    assert await bench.store.ask(Run("other", "r3", 1), "by ada") is Told.UNKNOWN
    assert await bench.store.runs() == [early, late]
    await bench.store.done([early])
    assert await bench.store.runs() == [late]
    await bench.store.done([])
    assert (await held(bench.store)).changes == 3


async def test_runs_have_a_bound(bench: Bench) -> None:
    await declared(bench)
    told = [await bench.store.ask(Run("s", f"r{number}", number), "by ada") for number in range(RUNS_MAX + 1)]
    assert told == [Told.DONE] * RUNS_MAX + [Told.FULL]


async def test_a_store_that_is_away_says_so() -> None:
    store = MemoryStore(lambda: 0.0)
    store.away = True
    with pytest.raises(StoreAwayError):
        await store.hold("a", LEASE_MS)
    client = open_redis("redis://127.0.0.1:1/0")
    with pytest.raises(StoreAwayError):
        await RedisStore(client).hold("a", LEASE_MS)
    with pytest.raises(StoreAwayError):
        await RedisStore(client).release(Lease("a", 1, 0))
    await client.aclose()
