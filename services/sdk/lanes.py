"""Different keys side by side, one key in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Lanes(Generic[Item]):
    """Runs `handle` for each item offered: at most `limit` at once, and never two of one key.

    `full` says that `held_max` items are held and no more should be offered. `handle` never raises; should it, its
    lane stays closed, so that nothing overtakes the item that failed.
    """

    def __init__(self, handle: Callable[[Item], Awaitable[None]], limit: int, held_max: int) -> None:
        self._handle = handle
        self._limit = limit
        self._held_max = held_max
        self._queues: dict[Hashable, deque[Item]] = {}
        self._ready: deque[Hashable] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 0
        self._serving = 0
        self._changed: asyncio.Future[None] | None = None
        """Somebody waits for an item to finish."""

    @property
    def held(self) -> int:
        """Items offered and not finished."""
        return self._held

    @property
    def full(self) -> bool:
        return self._held >= self._held_max

    def offer(self, key: Hashable, item: Item) -> None:
        self._held += 1
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(item)
            return
        self._queues[key] = deque((item,))
        if self._serving >= self._limit:
            self._ready.append(key)
            return
        self._serving += 1
        task = asyncio.create_task(self._work(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def change(self, wait_s: float) -> None:
        """Returns when an item finished, or after `wait_s` seconds."""
        try:
            async with asyncio.timeout(wait_s):
                await self._change()
        except TimeoutError:
            return

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        # Several may wait for the same change.
        await asyncio.shield(self._changed)

    async def drained(self, limit_s: float) -> bool:
        """Wait until nothing is held; False after `limit_s` seconds."""
        try:
            async with asyncio.timeout(limit_s):
                while self._held:
                    await self._change()
        except TimeoutError:
            return False
        return True

    async def abandon(self) -> None:
        """Cancel what runs, forget what waits."""
        self._ready.clear()
        self._queues.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._held = self._serving = 0

    async def _work(self, key: Hashable) -> None:
        """Serves lane after lane; a lane with more to do goes to the end of the line."""
        while True:
            queue = self._queues[key]
            await self._handle(queue[0])
            queue.popleft()
            self._held -= 1
            if self._changed is not None:
                if not self._changed.done():
                    self._changed.set_result(None)
                self._changed = None
            if queue:
                self._ready.append(key)
            else:
                del self._queues[key]
            if not self._ready:
                # Counted down here and not when the task is done: what is offered in between must find a server.
                self._serving -= 1
                return
            key = self._ready.popleft()
