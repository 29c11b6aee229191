"""Started marks in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from orchestrator.runtime.audit_marks import MARKS_MAX, Mark


@dataclass
class MemoryMarks:
    """Implements MarkStore over marks that a test gives it."""

    marks: list[Mark] = field(default_factory=list)

    async def started(self, services: Collection[str], age_ms: int) -> Sequence[Mark]:
        return [mark for mark in self.marks if mark.service in services and mark.age_ms >= age_ms][:MARKS_MAX]

    async def still(self, marks: Sequence[Mark]) -> Sequence[Mark]:
        there = {(mark.service, mark.command_id, mark.fence) for mark in self.marks}
        return [mark for mark in marks if (mark.service, mark.command_id, mark.fence) in there]
