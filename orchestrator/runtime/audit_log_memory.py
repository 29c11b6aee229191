"""The audit's log in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from contracts.record import IncomingRecord
from orchestrator.runtime.log import Place
from orchestrator.runtime.log_memory import MemoryLog


class MemoryAuditLog:
    """Implements AuditLog, over a `MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def bounds(self, topic: str) -> Mapping[Place, tuple[int, int]]:
        return {place: self._log.bounds_of(place) for place in self._log.places(topic)}

    async def committed(self, group: str, topic: str) -> Mapping[Place, int]:
        found = {place: self._log.committed_of(group, place) for place in self._log.places(topic)}
        return {place: offset for place, offset in found.items() if offset is not None}

    async def records(self, topics: Collection[str], since_ms: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        for topic in topics:
            yield [record for record in self._log.records(topic) if record.timestamp_ms >= since_ms]
