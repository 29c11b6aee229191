"""Waiting out an infrastructure fault: capped backoff, counted, visible in readiness; never a try of a message."""

from __future__ import annotations

import structlog

from services.sdk.metrics import ServiceMetrics
from services.sdk.surroundings import Surroundings

FIRST_S = 0.1
CEILING_S = 5.0
"""Longest pause between two attempts to reach what is away."""

log = structlog.get_logger("services.sdk")


class Patience:
    """`problem` is None while all is well, else one line for `/readyz`."""

    def __init__(self, service: str, metrics: ServiceMetrics, around: Surroundings) -> None:
        self._service = service
        self._metrics = metrics
        self._around = around
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        return next(iter(self._problems.values()), None)

    async def wait(self, what: str, detail: str, attempt: int) -> None:
        """After the `attempt`-th failure (from 1) to reach `what` (a word of a small set: it is a metric label)."""
        if what not in self._problems:
            log.warning("waiting", service=self._service, what=what, detail=detail)
        self._problems[what] = f"{self._service}: waiting for the {what}: {detail}"
        self._metrics.fault(what)
        pause = min(CEILING_S, FIRST_S * 2.0 ** min(attempt - 1, 10))
        await self._around.sleep(pause * (0.8 + 0.4 * self._around.random()))

    def forget(self, *whats: str) -> None:
        """Nobody waits for these any more: who did was given up. Whether they are back is not known."""
        for what in whats:
            self._problems.pop(what, None)

    def over(self, what: str) -> None:
        if self._problems.pop(what, None) is not None:
            log.info("back", service=self._service, what=what)
