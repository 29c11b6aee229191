"""A time limit for each of many coroutines, without a timer for each: one timer looks at all, ten times a second.

`asyncio.timeout` sets and clears a timer and makes two objects for every use, a tenth of the SDK's processor time for a
message. What it promises is promised here too: the cancellation that ends a coroutine is told from any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

LOOK_S = 0.1
"""A limit is noticed at most so much late."""
Result = TypeVar("Result")


class LimitPassed(Exception):
    """A coroutine was cancelled since its time was over."""


class _Running:
    __slots__ = ("ends_s", "expired", "task")

    def __init__(self, task: asyncio.Task[Any], ends_s: float) -> None:
        self.task = task
        self.ends_s = ends_s
        self.expired = False


class TimeLimits:
    """Of one event loop. A task has one limit at a time."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[Any], _Running] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, limit_s: float, work: Awaitable[Result]) -> Result:
        """What `work` returns or raises.

        Raises:
            LimitPassed: it had not ended after `limit_s` seconds and was cancelled.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None and task not in self._running, "a task has one limit at a time"
        running = self._running[task] = _Running(task, loop.time() + limit_s)
        cancelling = task.cancelling()
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look, loop)
        try:
            return await work
        except asyncio.CancelledError:
            if running.expired and task.cancelling() - 1 <= cancelling:
                raise LimitPassed from None
            raise
        finally:
            del self._running[task]
            if running.expired:
                # Also if the work took no notice of its cancellation: the count is nobody else's.
                task.uncancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for running in self._running.values():
            if running.ends_s <= now_s and not running.expired:
                running.expired = True
                running.task.cancel()
        self._timer = loop.call_later(LOOK_S, self._look, loop) if self._running else None
