"""Limits of a handler: so many at once, or so many a second, and what waits has not begun."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from contracts.envelope import format_time
from contracts.technical import CommandFailed
from services.sdk import Concurrency, Delivery, NotDone, Rate, Retry, Service
from services.sdk.limits import CONCURRENCY_MAX, Limit
from services.sdk.middleware.limited import RateGate
from services.sdk.testing import Clock, CrashPoint, Harness
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged


@dataclass
class Room:
    """How many are in at once, and when each came in."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    inside: int = 0
    most: int = 0
    entered: list[str] = field(default_factory=list)
    fail: list[BaseException] = field(default_factory=list)

    async def visit(self, name: str) -> None:
        self.entered.append(name)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
            if self.fail:
                raise self.fail.pop(0)
        finally:
            self.inside -= 1


def limited(limit: Limit) -> Service:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    @service.handles(Ping, limit=limit, retry=Retry(attempts=2, first=0.1, jitter=0), unfinished="repeat")
    async def ping(command: Ping, room: Room) -> Pinged:
        await room.visit(command.name)
        return Pinged(name=command.name)

    @service.handles(Noticed)
    async def hear(event: Noticed, delivery: Delivery) -> Heard:
        return Heard(name=event.name)

    return service


async def offered(harness: Harness, room: Room, count: int) -> list[asyncio.Task[object]]:
    """`count` commands of different keys, all delivered; as many as may be are inside."""
    tasks: list[asyncio.Task[object]] = []
    for number in range(count):
        tasks.append(asyncio.create_task(harness.deliver(Ping(name=f"n{number}"))))
    await asyncio.sleep(0.1)
    return tasks


async def test_no_more_at_once_than_the_limit_and_other_types_pass_by() -> None:
    room = Room()
    async with Harness(limited(Concurrency(3)), [room]) as harness:
        tasks = await offered(harness, room, 10)
        assert (room.inside, len(room.entered)) == (3, 3)
        other = asyncio.create_task(harness.deliver(Noticed(name="x")))
        async with asyncio.timeout(5):
            while not harness.bus.read("sample.events"):  # noqa: ASYNC110 - a bus has no event of its own
                await asyncio.sleep(0.001)
        room.open.set()
        await asyncio.gather(*tasks, other)
    assert (room.most, len(room.entered)) == (3, 10)


async def test_without_the_limit_all_are_inside() -> None:
    """The fault that the test above guards against, planted."""
    room = Room()
    async with Harness(limited(Concurrency(CONCURRENCY_MAX)), [room]) as harness:
        tasks = await offered(harness, room, 10)
        assert room.inside == 10
        room.open.set()
        await asyncio.gather(*tasks)


async def test_what_waits_for_its_turn_has_no_mark_and_a_deadline_that_passes_meanwhile_refuses_it() -> None:
    room = Room()
    async with Harness(limited(Concurrency(1)), [room]) as harness:
        first = asyncio.create_task(harness.deliver(Ping(name="first")))
        await asyncio.sleep(0.05)
        deadline = format_time(harness.clock.now_ms + 1_000)
        second = asyncio.create_task(harness.deliver(Ping(name="second"), process_id="p:1", deadline=deadline))
        await asyncio.sleep(0.05)
        harness.clock.advance(2)
        room.open.set()
        await asyncio.gather(first, second)
        failed = [one for one in harness.bus.published if dict(one.headers)["ce_type"] == CommandFailed.type.encode()]
    assert room.entered == ["first"]
    (record,) = failed
    answer = CommandFailed.model_validate_json(record.value or b"")
    assert (answer.code, answer.effect) == ("deadline-exceeded", "none")


async def test_a_turn_is_given_back_by_failures_and_crashes() -> None:
    room = Room(fail=[RuntimeError("x"), RuntimeError("x"), RuntimeError("x")])
    room.open.set()
    async with Harness(limited(Concurrency(1)), [room]) as harness:
        for number in range(3):
            await harness.deliver(Ping(name=f"n{number}"))
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(Ping(name="crash"))
        await harness.deliver(Ping(name="last"))
    assert "last" in room.entered and room.inside == 0


async def test_a_rate_spaces_executions_after_a_burst() -> None:
    clock = Clock()
    gate = RateGate(Rate(per_second=2, burst=3), clock.surroundings())
    at_ms: list[int] = []
    for _ in range(7):
        await gate.passed()
        at_ms.append(clock.now_ms)
    begun = at_ms[0]
    assert [one - begun for one in at_ms] == [0, 0, 0, 500, 1_000, 1_500, 2_000]
    clock.advance(60)
    quiet = clock.now_ms
    for _ in range(4):
        await gate.passed()
    # A long quiet time gives one burst, not more.
    assert clock.now_ms - quiet == 500


async def test_a_retry_takes_a_turn_of_the_rate() -> None:
    room = Room(fail=[NotDone("busy", "later", retryable=True)])
    room.open.set()
    async with Harness(limited(Rate(per_second=0.5)), [room]) as harness:
        begun = harness.clock.now_ms
        await harness.deliver(Ping(name="a"))
        assert room.entered == ["a", "a"]
        assert harness.clock.now_ms - begun >= 2_000


@pytest.mark.parametrize(
    "wrong",
    [lambda: Concurrency(0), lambda: Concurrency(CONCURRENCY_MAX + 1), lambda: Rate(0), lambda: Rate(1, burst=0)],
)
def test_limits_have_bounds(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"concurrency|rate"):
        wrong()  # type: ignore[operator]
