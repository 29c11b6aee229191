"""What the log refuses for good, and positions that it has lost: nothing is passed over in silence."""

from __future__ import annotations

import asyncio

import pytest

from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.log import AppendRefused, LogUnavailable
from orchestrator.runtime.log_memory import MemoryAppender, MemorySubscription
from tests.runtime.test_router_loop import EVENTS, World
from tests.runtime.test_router_rules import CAPTURED


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda self: 0.001)


LARGE = CAPTURED.to_json()[:-1] + b',"note":"' + b"x" * 700_000 + b'"}'


async def test_what_is_too_large_for_the_inbox_goes_to_dead_letters_and_stops_nothing(world: World) -> None:
    refuse_large(world, INBOX)
    router = await world.router()
    world.put(1)
    world.put(2, value=LARGE)
    world.put(3)

    assert await router.step(0) == 3

    assert world.inbox()[-2:] == ["e1", "e3"] and "e2" not in world.inbox()
    (letter,) = world.log.records(ORCHESTRATOR_DEAD_LETTERS)
    assert letter.value == LARGE and dict(letter.headers)["dl_reason"] == b"too-large"
    assert world.committed() == 3
    assert world.count("counterpoint_dead_letters_total", role="router", reason="too-large") == 1
    assert world.count("counterpoint_router_records_total", kind="outcome") == 2


async def test_what_is_too_large_for_dead_letters_leaves_its_place_there(world: World) -> None:
    refuse_large(world, INBOX, ORCHESTRATOR_DEAD_LETTERS)
    router = await world.router()
    world.put(1, 2)
    world.put(3, value=LARGE)

    assert await router.step(0) == 3

    (letter,) = world.log.records(ORCHESTRATOR_DEAD_LETTERS)
    headers = dict(letter.headers)
    assert letter.value == b"" and headers["dl_reason"] == b"too-large" and b"left out" in headers["dl_detail"]
    assert (headers["dl_topic"], headers["dl_partition"], headers["dl_offset"]) == (b"orders.events", b"0", b"2")


async def test_a_small_record_that_is_refused_waits_for_a_sound_log(world: World) -> None:
    """Else a missing inbox would send every event to dead letters."""
    router = await world.router()
    world.put(1)
    world.log.faults.refused_types = {CAPTURED.type}
    step = asyncio.create_task(router.step(0))
    await asyncio.sleep(0.02)
    assert "is refused" in (world.readiness.problem() or "") and not world.letters()

    world.log.faults.refused_types = set()
    assert await step == 1 and world.inbox() == ["e1"]


def refuse_large(world: World, *topics: str) -> None:
    """The topics' max.message.bytes is 500,000."""

    class Refusing(MemoryAppender):
        async def append(self, records):  # type: ignore[no-untyped-def]
            for index, sent in enumerate(records):
                if sent.topic in topics and len(sent.value) > 500_000:
                    raise AppendRefused(index, "too large")
            return await super().append(records)

    async def appender() -> MemoryAppender:
        return Refusing(world.log)

    world.log.appender = appender  # type: ignore[method-assign]


async def test_events_that_retention_took_are_not_passed_over_in_silence(
    world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    router = await world.router()
    world.put(1)
    await router.step(0)
    await router._subscription.close()  # type: ignore[union-attr]
    world.put(2, 3, 4)
    world.log.trim(EVENTS, 2)

    again = await world.router()
    assert await again.step(0) == 0
    assert "not in the log" in capsys.readouterr().out + caplog.text
    assert await again.step(0) == 2

    assert world.inbox() == ["e1", "e3", "e4"] and world.committed() == 4


async def test_after_a_cut_of_the_log_all_that_is_left_is_routed_again(world: World) -> None:
    router = await world.router()
    world.put(1, 2, 3)
    await router.step(0)
    world.log.cut(EVENTS, 1)

    assert await router.step(0) == 0
    world.put(4)
    assert await router.step(0) == 2

    assert world.inbox() == ["e1", "e2", "e3", "e1", "e4"] and world.committed() == 2


async def test_a_lost_position_waits_for_the_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    router = await world.router()
    world.put(1, 2)
    await router.step(0)
    world.log.cut(EVENTS, 0)

    async def away(self: object, places: object) -> None:
        raise LogUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(MemorySubscription, "bounds", away)
        assert await router.step(0) == 0
    assert "position is lost" in (world.readiness.problem() or "")

    assert await router.step(0) == 0
    assert world.readiness.problem() is None
    world.put(3)
    assert await router.step(0) == 1 and world.inbox()[-1] == "e3"
