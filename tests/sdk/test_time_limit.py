"""Time limits that share a timer: whose cancellation it was, and what is left behind."""

from __future__ import annotations

import asyncio

import pytest

from services.sdk.time_limit import LimitPassed, TimeLimits

LONG_S, SHORT_S = 60.0, 0.01


async def forever() -> None:
    await asyncio.Event().wait()


async def test_what_ends_in_time_is_returned_or_raised() -> None:
    limits = TimeLimits()

    async def broken() -> None:
        raise TimeoutError("a provider's")

    assert await limits.within(LONG_S, asyncio.sleep(0, "done")) == "done"
    with pytest.raises(TimeoutError, match="a provider's"):
        await limits.within(LONG_S, broken())


async def test_only_those_whose_time_is_over_are_ended_and_their_tasks_go_on() -> None:
    limits, passed = TimeLimits(), []

    async def one(limit_s: float, seconds: float) -> str:
        try:
            return await limits.within(limit_s, asyncio.sleep(seconds, "done"))
        except LimitPassed:
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0
            await asyncio.sleep(0)
            passed.append(limit_s)
            return "late"

    results = await asyncio.gather(one(SHORT_S, LONG_S), one(LONG_S, 0.3), one(SHORT_S, LONG_S))
    assert results == ["late", "done", "late"] and passed == [SHORT_S, SHORT_S]


async def test_a_cancellation_from_outside_stays_one() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(limits.within(LONG_S, forever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancellation_from_outside_is_not_lost_when_time_is_over_at_once() -> None:
    limits = TimeLimits()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(limits.within(0.0, forever()))
    await asyncio.sleep(0)
    limits._look(loop)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_work_that_takes_no_notice_has_its_result_counted() -> None:
    limits = TimeLimits()

    async def stubborn() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "done anyway"
        raise AssertionError

    assert await limits.within(SHORT_S, stubborn()) == "done anyway"
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_a_failure_after_the_limit_is_the_failure() -> None:
    limits = TimeLimits()

    async def failing() -> None:
        try:
            await forever()
        finally:
            raise ValueError("while it was ended")

    with pytest.raises(ValueError, match="while it was ended"):
        await limits.within(SHORT_S, failing())


async def test_nothing_is_looked_at_when_nothing_runs() -> None:
    limits = TimeLimits()
    with pytest.raises(LimitPassed):
        await limits.within(SHORT_S, forever())
    await asyncio.sleep(0.25)
    assert limits._timer is None
    with pytest.raises(LimitPassed):
        await limits.within(SHORT_S, forever())
