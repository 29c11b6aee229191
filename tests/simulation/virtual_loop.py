"""An event loop whose time is virtual and whose order is a seed's: a sleep costs nothing, a run repeats exactly.

Legal by asyncio's promises: a callback runs in a later turn than the one that scheduled it, timers run no earlier than
they are due, a task's own steps keep their order. What is ready at the same time runs in any order, as it would with
other sockets and other machines.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any

CANCELLED_TIMERS_MAX = 256
"""Cancelled timers kept in the heap before it is swept."""


class Stalled(RuntimeError):
    """Nothing is ready and no timer is set: everybody waits for ever."""


class NumberedTask(asyncio.Task[Any]):
    """Sets of tasks (asyncio.wait, the SDK's lanes) keep one order in every run: by number, not by address."""

    _numbers = itertools.count(1)

    def __init__(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = next(NumberedTask._numbers)
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """`born` hears of every task that is made."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._now_s = 0.0
        self._random = random
        self.turns = 0
        self.born: Callable[[NumberedTask, Context | None], None] = lambda task, context: None
        NumberedTask._numbers = itertools.count(1)
        self.set_task_factory(self._make_task)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = NumberedTask(coroutine, loop=loop, context=context)
        self.born(task, context)
        return task

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        self.turns += 1
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        self._sweep(timers)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise Stalled("nothing is ready and no timer is set")
            self._now_s = max(self._now_s, timers[0]._when)
        while timers and timers[0]._when <= self._now_s:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            ready.append(handle)
        batch = list(ready)
        ready.clear()
        if len(batch) > 1:
            self._random.shuffle(batch)
        for handle in batch:
            if not handle._cancelled:
                handle._run()

    def _sweep(self, timers: list[Any]) -> None:
        """Cancelled timers must not move the time."""
        if self._timer_cancelled_count > CANCELLED_TIMERS_MAX:  # type: ignore[has-type]
            for handle in timers:
                if handle._cancelled:
                    handle._scheduled = False
            timers[:] = [handle for handle in timers if not handle._cancelled]
            heapq.heapify(timers)
            self._timer_cancelled_count = 0
        while timers and timers[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(timers)._scheduled = False

    def _process_events(self, event_list: object) -> None:
        """There is nothing outside."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""
