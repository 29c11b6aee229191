"""Which shards are this clock's, where no engine runs in the same program: a group of its own over the inbox, of which
nothing is read."""

from __future__ import annotations

import asyncio

from contracts.topics import INBOX
from orchestrator.runtime.log import Log, Place, PositionLost, Subscription
from orchestrator.runtime.readiness import Readiness

CLOCK_GROUP = "counterpoint.clock"


class ClockOwnership:
    """A `Membership` whose places stay paused, without a position, for ever. `open`, `run`, `stop`, `close`."""

    def __init__(self, log: Log, readiness: Readiness, poll_ms: int = 200) -> None:
        self._log = log
        self._readiness = readiness
        self._poll_ms = poll_ms
        self._owned: frozenset[int] = frozenset()
        self._stopping = asyncio.Event()
        self._subscription: Subscription | None = None

    @property
    def owned(self) -> frozenset[int]:
        """Shards whose timers this clock may fire."""
        return self._owned

    def assigned(self, places: frozenset[Place]) -> None:
        self._owned |= {place.partition for place in places}

    async def revoked(self, places: frozenset[Place]) -> None:
        """A firing under way may still be appended: the engine takes each timer once, whoever fires it."""
        self._owned -= {place.partition for place in places}

    async def open(self) -> None:
        """Join the group."""
        self._subscription = await self._log.subscribe(CLOCK_GROUP, frozenset((INBOX,)), self, "claimed")
        self._readiness.watch(self._problem)

    def _problem(self) -> str | None:
        text = self._subscription.problem if self._subscription else None
        return f"clock: {text}" if text else None

    async def run(self) -> None:
        """Stay a member until `stop`."""
        while not self._stopping.is_set():
            await self.step(self._poll_ms)

    async def step(self, timeout_ms: int) -> None:
        """Let the subscription work: it reconnects, and takes part in rebalances, only while it is polled."""
        assert self._subscription is not None, "open comes before step"
        try:
            await self._subscription.poll(timeout_ms)
        except PositionLost:
            # There is no position to lose: nothing is read here.
            await asyncio.sleep(timeout_ms / 1000)

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    async def close(self) -> None:
        """Leave the group."""
        if self._subscription is not None:
            await self._subscription.close()
