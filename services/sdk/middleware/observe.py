"""Observe: how long a message took, and how it ended, as metrics."""

from __future__ import annotations

from services.sdk.metrics import ServiceMetrics
from services.sdk.surroundings import Surroundings
from services.sdk.work import Done, Step, Work


class Observe:
    def __init__(self, then: Step, metrics: ServiceMetrics, around: Surroundings) -> None:
        self._then = then
        self._metrics = metrics
        self._around = around

    async def __call__(self, work: Work) -> Done:
        started_s = self._around.monotonic_s()
        self._metrics.running += 1
        try:
            done = await self._then(work)
        finally:
            self._metrics.running -= 1
        self._metrics.ended(work, done, self._around.monotonic_s() - started_s)
        return done
