"""Planted faults in the SDK's own surroundings: each guard fires, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from redis.exceptions import NoPermissionError, OutOfMemoryError

from contracts.record import OutgoingRecord
from services.sdk.failures import StartRefused, StoreAwayError
from services.sdk.inbox_redis import REQUIRED, RedisInbox
from services.sdk.kafka import KafkaBus
from services.sdk.testing import Harness
from tests.sdk.sample import Ping, Pinged, World, make_service


async def until(condition: object, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - conditions have no event of their own
            await asyncio.sleep(0.001)


async def test_a_bug_of_the_sdk_holds_the_message_and_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        broken = True
        real = harness.bus.publish

        async def publish(records: Sequence[OutgoingRecord]) -> None:
            if broken:
                raise ZeroDivisionError("planted")
            await real(records)

        monkeypatch.setattr(harness.bus, "publish", publish)
        task = asyncio.create_task(harness.deliver(Ping(name="a"), id="p/a/1", process_id="p"))
        await until(lambda: "planted" in (harness.runner.problem or ""))
        assert not any(harness.bus.committed("counterpoint.sample").values())
        broken = False
        assert [p.message for p in await task] == [Pinged(name="a")]
        assert harness.runner.problem is None
        assert len(world.calls) == 1


async def test_what_a_dropped_tenure_waited_for_is_no_problem_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a program wakes up that slept through its session: its call has timed out, and its shards are gone."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="z"), process_id="p")

        async def away(*arguments: object) -> object:
            raise StoreAwayError("planted")

        with monkeypatch.context() as patch:
            patch.setattr(harness.inbox, "exchange", away)
            task = asyncio.create_task(harness.deliver(Ping(name="a"), process_id="p"))
            await until(lambda: "planted" in (harness.runner.problem or ""))
            tenure = harness.runner._tenure
            assert tenure is not None
            await tenure.drop()
            assert harness.runner.problem is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_bug_of_the_inbox_holds_all_and_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="z"), process_id="p")
        real = harness.inbox.exchange
        broken = True

        async def exchange(*arguments: object) -> object:
            if broken:
                raise ZeroDivisionError("planted")
            return await real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(harness.inbox, "exchange", exchange)
        task = asyncio.create_task(harness.deliver(Ping(name="a"), process_id="p"))
        await until(lambda: "planted" in (harness.runner.problem or ""))
        broken = False
        assert [p.message for p in await task] == [Pinged(name="a")]


class FakeRedis:
    """Just enough of a client for `check`."""

    def __init__(self, settings: dict[str, str], error: Exception | None = None) -> None:
        self._settings = settings
        self._error = error

    async def ping(self) -> bool:
        return True

    async def config_get(self, name: str) -> dict[bytes, bytes]:
        if self._error is not None:
            raise self._error
        return {name.encode(): self._settings[name].encode()}

    def register_script(self, text: str) -> object:
        async def run(keys: object, args: object) -> object:
            raise self._error or AssertionError(text)

        return run


@pytest.mark.parametrize(
    ("name", "value"), [("maxmemory-policy", "allkeys-lru"), ("appendonly", "no"), ("appendfsync", "everysec")]
)
async def test_a_store_that_would_lose_data_is_refused_in_one_sentence(name: str, value: str) -> None:
    inbox = RedisInbox(FakeRedis(REQUIRED | {name: value}), "sample")  # type: ignore[arg-type]
    with pytest.raises(StartRefused, match=f"{name} is '{value}'") as refused:
        await inbox.check()
    assert "\n" not in str(refused.value)


async def test_a_store_that_may_not_be_asked_is_warned_about() -> None:
    inbox = RedisInbox(FakeRedis(REQUIRED, NoPermissionError("no CONFIG here")), "sample")  # type: ignore[arg-type]
    warnings = await inbox.check()
    assert len(warnings) == 3
    assert "it must be noeviction" in warnings[0]


async def test_a_full_store_is_away_not_broken() -> None:
    inbox = RedisInbox(FakeRedis(REQUIRED, OutOfMemoryError("full")), "sample")  # type: ignore[arg-type]
    with pytest.raises(StoreAwayError, match="OutOfMemoryError"):
        await inbox.take("one", "aaaaaaaa", {})


async def test_a_kafka_that_is_away_is_named_and_waited_for() -> None:
    bus = KafkaBus("127.0.0.1:1", "test")
    publishing = asyncio.ensure_future(bus.publish([OutgoingRecord("t", b"k", b"{}", ())]))
    await until(lambda: bus.problem is not None)
    assert "Kafka takes no records" in (bus.problem or "")
    assert not publishing.done()
    publishing.cancel()
    await bus.close()
