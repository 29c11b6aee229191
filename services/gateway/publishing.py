"""Publishing with a limit on the wait: the bus never gives up by itself, a person in front of a browser does.

What was handed to the bus goes on trying after the wait has ended, under the id that a repeat will have too. How many
such there are is bounded; one more is refused before it is handed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.record import OutgoingRecord
from services.gateway.failures import Unavailable
from services.sdk.ports import Bus

PUBLISHING_MAX = 512
"""Records on their way to Kafka."""


class Publisher:
    """`problem`: what the bus says while it takes no records. `wait_s`: the longest wait for an acknowledgement."""

    def __init__(self, bus: Bus, problem: Callable[[], str | None], wait_s: float) -> None:
        self._bus = bus
        self._problem = problem
        self._wait_s = wait_s
        self._publishing: dict[str, asyncio.Future[None]] = {}

    @property
    def waiting(self) -> int:
        """Records that are not acknowledged."""
        return len(self._publishing)

    async def publish(self, event_id: str, record: OutgoingRecord) -> None:
        """Returns once Kafka has acknowledged it. A repeat of what is still on its way waits for that.

        Raises:
            Unavailable: not known to be acknowledged.
        """
        task = self._publishing.get(event_id)
        if task is None:
            problem = self._problem()
            if problem is not None:
                raise Unavailable("kafka", problem)
            if len(self._publishing) >= PUBLISHING_MAX:
                raise Unavailable("kafka", f"{PUBLISHING_MAX} events wait for Kafka already")
            task = asyncio.ensure_future(self._bus.publish((record,)))
            self._publishing[event_id] = task
            task.add_done_callback(lambda ended: self._forget(event_id, ended))
        done, _ = await asyncio.wait({task}, timeout=self._wait_s)
        if not done:
            raise Unavailable("kafka", f"Kafka has not acknowledged it within {self._wait_s:g} s")
        task.result()

    async def close(self) -> None:
        """Gives up what is on its way; nobody was told that it was accepted."""
        tasks = list(self._publishing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, event_id: str, ended: asyncio.Future[None]) -> None:
        self._publishing.pop(event_id, None)
        if not ended.cancelled():
            ended.exception()
