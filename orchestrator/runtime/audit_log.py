"""The port to the log for audits. Reading leaves no trace: no consumer group, no commit. Adapters: `audit_log_kafka`,
`audit_log_memory`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from contracts.record import IncomingRecord
from orchestrator.runtime.log import Place


class AuditLog(Protocol):
    """Every method raises LogUnavailable."""

    async def bounds(self, topic: str) -> Mapping[Place, tuple[int, int]]:
        """Log start and log end of every partition."""
        ...

    async def committed(self, group: str, topic: str) -> Mapping[Place, int]:
        """The group's offsets, where it has one."""
        ...

    def records(self, topics: Collection[str], since_ms: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        """Everything appended since then, up to where the log ended when it was asked; in no order across
        partitions."""
        ...
