"""The port to the store (Redis): each shard's folded state. Adapters: `store_memory`, `store_redis`; one conformance
suite.

The store is a cache of the log: it may vanish or go back in time, and the engine then folds again. So every read of
states comes with the shard's position, and every write is a compare-and-set on it (DESIGN section 2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class StoreUnavailable(RuntimeError):
    """The store cannot be reached, or refuses to work for now. It is unknown whether a write was done."""


class WriteResult(Enum):
    WRITTEN = "written"
    REPEATED = "repeated"
    """This very checkpoint had been applied before (its answer was lost): as good as written."""
    MISMATCH = "mismatch"
    """The stored position is not the one that the writer last saw; nothing was changed."""


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """How far a shard is folded. `next` is the first inbox offset not folded; `record_id` identifies the record before
    it (see `checkpoint.record_id`), so that a log that was cut or replaced is noticed."""

    next: int
    record_id: str
    checkpoint_id: str
    semantics: int


@dataclass(frozen=True, slots=True)
class ProcessWrite:
    """What one checkpoint changes about one process. `history` is appended; the rest replaces. `blob` None: the process
    is no more, nor is its history."""

    process_id: str
    blob: bytes | None
    history: tuple[bytes, ...]
    timers_set: tuple[tuple[str, int], ...]
    """(timer id, due in ms)."""
    timers_unset: tuple[str, ...]
    indexes: tuple[str, ...]
    """Names of the indexes that the process is in from now on, with `updated_at_ms` as its score."""
    indexes_left: tuple[str, ...]
    updated_at_ms: int
    first_offset: int = 0
    """Of the inputs in this checkpoint that concern the process: no snapshot covers it from there on."""
    forget_history: bool = False
    """The history so far is dropped, before `history` is appended."""
    rests: bool = False
    """Nothing is under way: the blob will be stored for long, and may be packed at some cost."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One shard's step from position `expected_next` (None: the shard has no stored position) to `position`."""

    shard: int
    expected_next: int | None
    position: ShardPosition
    writes: tuple[ProcessWrite, ...]
    sagas: tuple[str, ...]
    """Sagas of processes that are new in this checkpoint."""
    inputs: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The answer to one shard's load: blobs in order of the ids asked for, None where there is no process."""

    next: int | None
    blobs: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class DueTimer:
    shard: int
    process_id: str
    timer_id: str
    due_ms: int


class ShardStore(Protocol):
    """What the engine needs. Every method raises StoreUnavailable; a cancelled write may have been done."""

    async def positions(self, shards: Collection[int]) -> Mapping[int, ShardPosition | None]:
        """Stored positions, None where a shard has none."""

    async def load(self, wanted: Mapping[int, Sequence[str]]) -> Mapping[int, Loaded]:
        """Blobs of the wanted processes by shard, each shard's blobs and position read in one atomic step."""

    async def write(self, checkpoints: Sequence[Checkpoint]) -> Sequence[WriteResult]:
        """Apply checkpoints of different shards; results in their order. Each is applied whole or not at all, and
        only if the shard's stored next offset is `expected_next`. Checkpoints of one shard must not be in one call."""

    async def set_refusals(self, refusals: Mapping[int, bytes | None]) -> None:
        """Keep (None: forget) what a person must know about shards that refuse to work."""


class TimerStore(Protocol):
    """What the clock needs. Raises StoreUnavailable."""

    async def due_timers(self, shards: Collection[int], until_ms: int, limit: int) -> Sequence[DueTimer]:
        """Timers due at or before `until_ms`, the earliest `limit` of each shard."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    process_id: str
    updated_at_ms: int


class ProcessStore(Protocol):
    """What the read model needs. Reads are not isolated from each other. Raises StoreUnavailable."""

    async def sagas(self) -> frozenset[str]:
        """Names of all sagas that ever had a process here."""

    async def entries(self, index: str, at_most_ms: int | None, limit: int, skip: int) -> Sequence[IndexEntry]:
        """Members of an index over all shards with `updated_at_ms <= at_most_ms`: of each shard, after skipping `skip`,
        the `limit` latest; in no particular order across shards."""

    async def counts(self, indexes: Sequence[str]) -> Sequence[int]:
        """How many members each index has, over all shards."""

    async def blobs(self, process_ids: Sequence[str]) -> Sequence[bytes | None]:
        """Process blobs in the order asked for."""

    async def history(self, process_id: str, start: int, limit: int) -> Sequence[bytes]:
        """Up to `limit` history entries from entry number `start` on, oldest first."""

    async def refusals(self) -> Mapping[int, bytes]:
        """What `set_refusals` kept, by shard."""
