"""What the services' dedupe stores say: commands that were begun, and whose end nobody has told. The port, and the
judgement, which is pure. Adapters: `audit_marks_redis`, `audit_marks_memory`.

The orchestrator knows the layout of those records (docs/decisions/0067-audit-beyond-states.md), and no code of theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.audit import REPAIR, Finding
from orchestrator.runtime.audit_deep import Awaited

MINUTE_MS = 60_000
PATIENCE_MS = 15 * MINUTE_MS
"""A command's default patience (DESIGN section 4): until then its service may begin it."""
MARGIN_MS = 15 * MINUTE_MS
"""Longer than any handler's time limit: who has begun has ended by then, well or badly."""
UNTOLD_MS = PATIENCE_MS + MARGIN_MS
MARKS_MAX = 10_000
COMMAND_PREFIX = "k:"
"""Of the identity of a message with an idempotency key, which a command's id is."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One message that a service has begun. `fence` is of this very execution."""

    service: str
    command_id: str
    fence: str
    age_ms: int


class MarkStore(Protocol):
    """Every method raises StoreUnavailable."""

    async def started(self, services: Collection[str], age_ms: int) -> Sequence[Mark]:
        """Started marks of commands, without an outcome, that were made at least `age_ms` ago; at most MARKS_MAX."""
        ...

    async def still(self, marks: Sequence[Mark]) -> Sequence[Mark]:
        """Those that are as they were: the same execution, and no outcome."""
        ...


def judge_mark(
    mark: Mark, awaited: Mapping[str, Awaited], stuck: Mapping[str, Collection[str]], now_ms: int
) -> Finding | None:
    """None: nobody waits for it, or it may still end by itself. `stuck`: process id -> the addresses where it is."""
    one = awaited.get(mark.command_id)
    process_id = mark.command_id.partition("/")[0] if one is None else one.process_id
    if one is not None:
        if one.deadline_ms is not None and now_ms <= one.deadline_ms + MARGIN_MS:
            return None
        frees = REPAIR
    else:
        at = [step for step in stuck.get(process_id, ()) if mark.command_id.startswith(f"{process_id}/{step}/")]
        if not at:
            return None
        frees = f"counterpoint retry {process_id} --step {at[-1]}"
    why = (
        f"{mark.service} began {mark.command_id} {mark.age_ms // MINUTE_MS} minutes ago, and has not said how it ended:"
        " whether it was done is not known"
    )
    return Finding("execution-untold", partition_of(process_id, SHARDS), process_id, why, frees)
