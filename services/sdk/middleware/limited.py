"""Limited: a message waits for its handler's turn before anything is known of it in the inbox.

So one that is killed while it waits has no mark and has done nothing, and a command whose deadline passes meanwhile is
refused with effect none. It keeps its place among the service's `concurrency` (decision 0111).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from services.sdk.limits import Concurrency, Limit, Rate
from services.sdk.surroundings import Surroundings
from services.sdk.work import Done, Step, Work


class RateGate:
    """Lets through at most so many a second, in the order in which they came. Whoever waits has its slot: giving up
    leaves it unused."""

    def __init__(self, rate: Rate, around: Surroundings) -> None:
        self._around = around
        self._interval_s = 1 / rate.per_second
        self._ahead_s = (rate.burst - 1) * self._interval_s
        self._next_s = float("-inf")
        """When the next slot is due, were there no burst."""

    async def passed(self) -> None:
        now_s = self._around.monotonic_s()
        slot_s = max(self._next_s, now_s)
        self._next_s = slot_s + self._interval_s
        wait_s = slot_s - self._ahead_s - now_s
        if wait_s > 0:
            await self._around.sleep(wait_s)


class Limited:
    """`limits`: by message type; only handlers that have one."""

    def __init__(self, then: Step, limits: Mapping[str, Limit], gates: Mapping[str, RateGate]) -> None:
        self._then = then
        self._gates = gates
        self._slots = {
            name: asyncio.Semaphore(limit.count) for name, limit in limits.items() if isinstance(limit, Concurrency)
        }

    async def __call__(self, work: Work) -> Done:
        gate = self._gates.get(work.envelope.type)
        if gate is not None:
            await gate.passed()
            return await self._then(work)
        slots = self._slots.get(work.envelope.type)
        if slots is None:
            return await self._then(work)
        async with slots:
            return await self._then(work)
