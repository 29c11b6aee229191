"""The port to what the store knows of snapshots: which processes no snapshot covers, and how a shard is restored.
Adapters: in `store_memory` and `store_redis`; the conformance suite of the store.

A process is *uncovered* from the offset of its first input on that its last snapshot does not have in it. The
checkpoint notes it; `cover` takes it back. So a replay may start at the lowest such offset of a shard: its *cut*.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.runtime.store import ProcessStore, ProcessWrite, ShardPosition, ShardStore


class StaleRestore(RuntimeError):
    """Somebody else restores this shard, or has done so: what is not written yet must not be."""


class ShortHistory(RuntimeError):
    """A process' snapshot names more history than the topic has."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the snapshots topic has of a process. `born_ms` tells one process from a later one of the same id."""

    next: int
    """The first inbox offset that the snapshot does not have in it."""
    parts: int = 0
    """Records of history."""
    entries: int = 0
    """Entries in those."""
    pieces: int = 0
    """Records of the state, where it does not fit into one."""
    born_ms: int = 0

    def encode(self) -> str:
        return f"{self.next} {self.parts} {self.entries} {self.pieces} {self.born_ms}"

    @classmethod
    def decode(cls, text: str) -> Mark:
        return cls(*map(int, text.split()))


@dataclass(frozen=True, slots=True)
class Sample:
    """A position of the past, on its way to become a cut."""

    offset: int
    record_id: str
    """Of the record before it (see `checkpoint.record_id`)."""
    at_ms: int


@dataclass(frozen=True, slots=True)
class CutState:
    """How far the snapshots of a shard are."""

    offset: int | None = None
    """Of the last cut that is in the topic."""
    sample: Sample | None = None
    complete: bool = False
    """Every process of the shard is either uncovered or has a mark. False: they were stored before there were
    snapshots, and are yet to be enrolled."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """That there are none means something only together with the position: a store that has lost everything has
    none."""

    next: int | None
    process_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cover:
    """A snapshot of a process that is in the topic. `blob_sha`: SHA-1 of the state that it holds, "" for none."""

    process_id: str
    blob_sha: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Restored:
    """What of a process is put back by one call. `history` comes in any number of calls before `write`."""

    process_id: str
    saga: str
    write: ProcessWrite
    mark: Mark
    ahead: bool
    """Its snapshot is above the cut: inputs below `mark.next` are not folded again."""


def blob_sha(blob: bytes | None) -> str:
    """As `Cover.blob_sha` has it."""
    return "" if blob is None else hashlib.sha1(blob, usedforsecurity=False).hexdigest()


class SnapshotStore(Protocol):
    """Every method raises StoreUnavailable; what it was to change may have been changed."""

    async def cut_states(self, shards: Collection[int]) -> Mapping[int, CutState]:
        """How far the snapshots are."""

    async def set_cut_state(self, shard: int, state: CutState) -> None:
        """Replace what `cut_states` gives."""

    async def uncovered(self, shard: int, below: int, limit: int) -> Uncovered:
        """Processes that are uncovered from an offset under `below` on, the lowest first, and the shard's stored
        position, read in one atomic step."""

    async def oldest_uncovered(self, shard: int) -> int | None:
        """The lowest offset from which on a process is uncovered. None: all are covered."""

    async def marks(self, shard: int, process_ids: Sequence[str]) -> Sequence[Mark | None]:
        """In the order asked for."""

    async def cover(self, shard: int, covers: Sequence[Cover]) -> None:
        """Note snapshots that are acknowledged by the log. A process that has changed since stays uncovered, from its
        snapshot on; so does one of which a later snapshot is known, since this one has replaced that. Does nothing for
        a shard without a position."""

    async def gone(self, shard: int, below: int, limit: int) -> Sequence[str]:
        """Processes that are no more, and have been none since an offset under `below`."""

    async def forget_gone(self, shard: int, process_ids: Sequence[str]) -> None:
        """The topic does not have them any more."""

    async def enroll(self, shard: int, cursor: int) -> int:
        """Make a page of the shard's processes uncovered from their beginning on. 0 begins, and says that all are."""

    async def ahead(self, shard: int, position: int) -> Mapping[str, int]:
        """Processes that were restored from snapshots above `position`, and the offsets from which on they want
        inputs."""

    async def begin_restore(self, shard: int, token: str) -> None:
        """Empty the shard; from now on only the holder of `token` may restore it. A shard that has a position is left
        alone (StaleRestore)."""

    async def restore_history(
        self, shard: int, token: str, process_id: str, first: int, entries: Sequence[bytes]
    ) -> None:
        """Put history entries back, the `first`th and so on; 0 starts anew. Raises StaleRestore, ShortHistory."""

    async def restore(self, shard: int, token: str, processes: Sequence[Restored]) -> None:
        """Put processes back; their history is cut to `mark.entries`. Raises StaleRestore, ShortHistory."""

    async def finish_restore(self, shard: int, token: str, position: ShardPosition) -> None:
        """The shard is whole and stands at `position`, which is its cut. Raises StaleRestore."""

    async def adopt(self, shard: int, expected_next: int | None, position: ShardPosition | None) -> bool:
        """A person's decision: the shard stands at another position, or (None) at none. False: it is not where it was
        when the person decided."""

    async def orders(self, shards: Collection[int]) -> Mapping[int, bytes]:
        """What persons have decided about shards that refuse to work."""

    async def set_orders(self, orders: Mapping[int, bytes | None]) -> None:
        """Keep (None: forget) such decisions."""


class WholeStore(ShardStore, ProcessStore, SnapshotStore, Protocol):
    """What snapshots are made of, and made into again."""
