"""The port to the store for audits: everything that is kept, under every name by which a process is known. Adapters:
`audit_redis`, `audit_memory`; one conformance suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Source = Literal["state", "history", "timer", "index"]


@dataclass(frozen=True, slots=True)
class Name:
    """One place that names a process. `detail`: the timer's id or the index' name."""

    shard: int
    process_id: str
    source: Source
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at about one process."""

    process_id: str
    timers: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """One process as it is kept. `timers` and `indexes`: those of the wanted ones that are set."""

    process_id: str
    blob: bytes | None
    history: int
    """Entries."""
    timers: Mapping[str, int] = field(default_factory=dict)
    """Timer id -> due in ms."""
    indexes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Mend:
    """Makes timers and indexes agree with the state. Done only if the state is still exactly `blob`."""

    process_id: str
    blob: bytes
    timers_set: tuple[tuple[str, int], ...] = ()
    timers_unset: tuple[str, ...] = ()
    indexes_set: tuple[str, ...] = ()
    indexes_unset: tuple[str, ...] = ()
    updated_at_ms: int = 0


class AuditStore(Protocol):
    """Every method raises StoreUnavailable."""

    def names(self, shards: frozenset[int] | None, page: int) -> AsyncIterator[Sequence[Name]]:
        """Everything there is in these shards (None: in all), about `page` names at a time, in no order. What is there
        from the beginning to the end is told at least once. A page may be empty."""
        ...

    async def sights(self, wanted: Sequence[Wanted]) -> Sequence[Sight]:
        """In order of `wanted`. Not one atomic read: who reads the same state before and after may trust it, since a
        checkpoint writes timers, indexes and history in one step with the state."""
        ...

    async def mend(self, mends: Sequence[Mend]) -> Sequence[bool]:
        """In order of `mends`: whether it was done. False: the process has gone on meanwhile."""
        ...

    async def forget(self, shard: int) -> bool:
        """Drop everything that is kept of a shard, so that its engine folds it again. False: it was written to
        meanwhile, and nothing is dropped."""
        ...
