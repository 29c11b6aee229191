"""Retries, and how sure the SDK is that nothing happened."""

from __future__ import annotations

import asyncio

import pytest

from contracts.envelope import format_time
from contracts.technical import CommandFailed
from services.sdk import Delivery, NotDone, Retry, Service, Unknown
from services.sdk.handler import Unfinished
from services.sdk.testing import START_MS, CrashPoint, Harness, Published
from tests.sdk.sample import CATALOG, Ping, Pinged, World, make_service

BUSY = NotDone("busy", "try again", retryable=True)
FINAL = NotDone("closed", "for good")
LOST = Unknown("lost", "no answer")
BUG = KeyError("oops")


def failure_of(published: list[Published]) -> tuple[str, str, bool]:
    [only] = published
    assert isinstance(only.message, CommandFailed)
    return only.message.code, only.message.effect, only.message.retryable


CASES: list[tuple[str, list[BaseException | None], Unfinished, int, tuple[str, str, bool] | None]] = [
    # name, what the attempts raise, unfinished, attempts made, the failure (None: success)
    ("certain and final", [FINAL], "repeat", 1, ("closed", "none", False)),
    ("certain, retried, done", [BUSY, BUSY, None], "repeat", 3, None),
    ("certain, retried in vain", [BUSY, BUSY, BUSY], "repeat", 3, ("busy", "none", True)),
    ("certain, also without keys", [BUSY, BUSY, None], "unknown", 3, None),
    ("unknown, retried, done", [LOST, None], "repeat", 2, None),
    ("unknown, retried in vain", [LOST, LOST, LOST], "repeat", 3, ("lost", "unknown", False)),
    ("unknown is never repeated without keys", [LOST, None], "unknown", 1, ("lost", "unknown", False)),
    ("a bug", [BUG, BUG, BUG], "repeat", 3, ("handler-failed", "unknown", False)),
    ("sys.exit", [SystemExit(3), None], "repeat", 2, None),
    ("a cancellation of its own", [asyncio.CancelledError(), None], "repeat", 2, None),
    ("a bug without keys", [BUG, None], "unknown", 1, ("handler-failed", "unknown", False)),
    ("a certain attempt does not clear an uncertain one", [LOST, FINAL], "repeat", 2, ("closed", "unknown", False)),
    ("nor does a retryable one", [LOST, BUSY, BUSY], "repeat", 3, ("busy", "unknown", False)),
    ("certain first, then unknown", [BUSY, LOST, None], "unknown", 2, ("lost", "unknown", False)),
    ("the provider's own time-out", [TimeoutError(), None], "repeat", 2, None),
]


@pytest.mark.parametrize(
    ("raises", "unfinished", "attempts", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
async def test_what_a_failure_comes_to(
    raises: list[BaseException | None], unfinished: Unfinished, attempts: int, expected: tuple[str, str, bool] | None
) -> None:
    world = World(before=list(raises))
    async with Harness(make_service(unfinished=unfinished), [world]) as harness:
        published = await harness.deliver(Ping(name="a"), process_id="saga:a")
        assert [call.attempt for call in world.calls] == list(range(1, attempts + 1))
        assert harness.metric("retries_total", type="sample.ping.v1") == attempts - 1
        if expected is None:
            assert [p.message for p in published] == [Pinged(name="a")]
        else:
            assert failure_of(published) == expected
        # A command of a process is answered, and its saga takes care of it.
        assert harness.dead_letters() == []
        # It never stops the consumer.
        world.before.clear()
        assert [p.message for p in await harness.deliver(Ping(name="b"), process_id="saga:b")] == [Pinged(name="b")]


async def test_later_attempts_know_that_an_earlier_one_is_uncertain() -> None:
    world = World(before=[BUSY, LOST, None])
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), process_id="saga:a")
    assert [call.unfinished for call in world.calls] == [False, False, True]


async def test_a_handler_without_end_is_cut_off_and_unknown() -> None:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    @service.handles(Ping, retry=Retry(attempts=2, first=0.2), unfinished="repeat", timeout_s=0.01)
    async def ping(command: Ping, world: World, delivery: Delivery) -> Pinged:
        world.act(delivery)
        await asyncio.Event().wait()
        return Pinged(name=command.name)

    world = World()
    async with Harness(service, [world]) as harness:
        published = await harness.deliver(Ping(name="a"), process_id="saga:a")
        assert failure_of(published) == ("timed-out", "unknown", False)
        assert [call.unfinished for call in world.calls] == [False, True]


async def test_retries_end_with_the_deadline() -> None:
    world = World(before=[BUSY] * 3)
    service = make_service(retry=Retry(attempts=3, first=10, ceiling=100, jitter=0))
    async with Harness(service, [world]) as harness:
        published = await harness.deliver(Ping(name="a"), process_id="saga:a", deadline=format_time(START_MS + 15_000))
    assert failure_of(published) == ("busy", "none", True)
    assert len(world.calls) == 2
    assert [pause for pause in harness.clock.slept_s if pause >= 10] == [10]


async def test_a_failed_command_of_no_process_is_dead_lettered_too() -> None:
    world = World(before=[FINAL])
    async with Harness(make_service(), [world]) as harness:
        failed, letter = await harness.deliver(Ping(name="a"), id="c1")
        assert isinstance(failed.message, CommandFailed)
        assert failed.envelope.process_id is None
        assert dict(letter.record.headers)["dl_reason"] == b"handler-failed"
        # Its command-failed is its outcome: a replay publishes that, and does not execute.
        assert [p.record.headers for p in await harness.replay(letter)] == [failed.record.headers]
        assert len(world.calls) == 1


async def test_an_execution_after_a_crash_is_uncertain_even_if_its_handler_is_certain() -> None:
    """The interleaving: charged, killed; the repeat is refused a connection and says NotDone. It was done, though."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
        world.before = [FINAL]
        assert failure_of(await harness.restart()) == ("closed", "unknown", False)


@pytest.mark.parametrize("point", list(CrashPoint))
@pytest.mark.parametrize("second", [None, *CrashPoint])
async def test_the_crash_matrix(point: CrashPoint, second: CrashPoint | None) -> None:
    """Whatever dies where, the effect happens once and the outcome is published with one id."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        harness.crash_at = point
        published = await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
        assert harness.crashed.is_set()
        harness.crash_at = second
        published += await harness.restart()
        harness.crash_at = None
        published += await harness.restart()
        # A re-send after silence, as the orchestrator does.
        published += await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
        assert world.effects == ["saga:a/ping/1"]
        assert {p.message for p in published} == {Pinged(name="a")}
        assert len({(p.record.value, p.record.headers) for p in published}) == 1
        assert harness.dead_letters() == []


@pytest.mark.parametrize("point", list(CrashPoint))
async def test_the_crash_matrix_without_keys(point: CrashPoint) -> None:
    """A handler that must not be repeated is executed at most once, and never reported as effect none."""
    world = World()
    async with Harness(make_service(unfinished="unknown"), [world]) as harness:
        harness.crash_at = point
        published = await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
        published += await harness.restart()
        assert len(world.calls) <= 1
        if point in (CrashPoint.BEFORE_EFFECT, CrashPoint.AFTER_EFFECT):
            assert failure_of(published) == ("unfinished", "unknown", False)
        else:
            assert {p.message for p in published} == {Pinged(name="a")}
            assert len({p.record.headers for p in published}) == 1
