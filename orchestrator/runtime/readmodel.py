"""What people see of processes: read from the store that the engine's checkpoints write. The CLI and the HTTP api are
its clients; nothing here writes.

Reads trail the log by one checkpoint (50 ms by default) and are not isolated from each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import msgspec

from contracts.process import Phase
from orchestrator.engine.history import HistoryEntry, decode_entry
from orchestrator.engine.process import Process, decode_process
from orchestrator.runtime.checkpoint import phase_index
from orchestrator.runtime.ownership import RefusedShard
from orchestrator.runtime.store import IndexEntry, ProcessStore

PHASES: tuple[Phase, ...] = get_args(Phase)
UNFINISHED: tuple[Phase, ...] = ("running", "compensating", "stuck")
PAGE_MAX = 10_000
"""Most processes of one answer."""
PROCESSES_MAX = 10_000_000
"""Processes of a saga and phase that are counted by version, of each shard."""
BLOBS_PAGE = 500
"""Blobs that one read brings, where all are wanted."""
HISTORY_PAGE = 500
"""Entries that one read of a history brings."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which processes; None leaves a criterion out. `unchanged_since_ms`: those last updated then or earlier."""

    saga: str | None = None
    phase: Phase | None = None
    unchanged_since_ms: int | None = None
    limit: int = 100


class VersionKey(NamedTuple):
    saga: str
    version: int
    phase: str


class ReadModel:
    """Every method raises StoreUnavailable if the store is away."""

    def __init__(self, store: ProcessStore) -> None:
        self._store = store

    async def find(self, query: Query) -> list[Process]:
        """The latest updated first; ties in order of their ids. Cost: one index read per saga and phase, over all
        shards, and the blobs of what is shown: no scan."""
        limit = min(query.limit, PAGE_MAX)
        entries: list[IndexEntry] = []
        for index in await self._indexes(query):
            entries.extend(await self._store.entries(index, query.unchanged_since_ms, limit, 0))
        entries.sort(key=lambda entry: (-entry.updated_at_ms, entry.process_id))
        # A process that moves between two index reads may show up in both.
        ids = list(dict.fromkeys(entry.process_id for entry in entries))[:limit]
        blobs = await self._store.blobs(ids)
        return [decode_process(blob) for blob in blobs if blob is not None]

    async def _indexes(self, query: Query) -> list[str]:
        sagas = sorted(await self._store.sagas()) if query.saga is None else [query.saga]
        phases = PHASES if query.phase is None else (query.phase,)
        return [phase_index(saga, phase) for saga in sagas for phase in phases]

    async def get(self, process_id: str) -> Process | None:
        (blob,) = await self._store.blobs([process_id])
        return None if blob is None else decode_process(blob)

    async def history(self, process_id: str, start: int = 0) -> list[HistoryEntry]:
        """All entries from entry number `start` on, oldest first."""
        entries: list[HistoryEntry] = []
        while True:
            page = await self._store.history(process_id, start + len(entries), HISTORY_PAGE)
            entries.extend(decode_entry(blob) for blob in page)
            if len(page) < HISTORY_PAGE:
                return entries

    async def counts(self, sagas: Sequence[str] | None = None) -> Mapping[tuple[str, str], int]:
        """Processes by saga and phase."""
        names = sorted(await self._store.sagas()) if sagas is None else sagas
        keys: list[tuple[str, str]] = [(saga, phase) for saga in names for phase in PHASES]
        return dict(zip(keys, await self._store.counts([phase_index(*key) for key in keys]), strict=True))

    async def versions(self, sagas: Sequence[str] | None = None) -> Mapping[VersionKey, int]:
        """Processes by saga, version and phase. Cost: every blob of those sagas (a version has no index). One that
        starts meanwhile may be missing; one that changes its phase is not: those before the end are read twice."""
        names = sorted(await self._store.sagas()) if sagas is None else sagas
        counts: Counter[VersionKey] = Counter()
        for saga in names:
            async for page in self._every(saga, (*PHASES, *UNFINISHED)):
                counts.update(VersionKey(process.saga, process.version, process.phase) for process in page)
        return counts

    async def unfinished(self, saga: str, version: int) -> AsyncIterator[list[Process]]:
        """All processes of that version that have not ended, page by page; the phase is that of the page's reading.
        Cost: every unfinished blob of the saga."""
        async for page in self._every(saga, (*UNFINISHED, *UNFINISHED)):
            found = [process for process in page if process.version == version and process.phase in UNFINISHED]
            if found:
                yield found

    async def _every(self, saga: str, phases: Sequence[Phase]) -> AsyncIterator[list[Process]]:
        """Each process that is in the index of one of the phases when that is read, once."""
        ids: dict[str, None] = {}
        for phase in phases:
            found = await self._store.entries(phase_index(saga, phase), None, PROCESSES_MAX, 0)
            ids.update(dict.fromkeys(entry.process_id for entry in found))
        every = list(ids)
        for first in range(0, len(every), BLOBS_PAGE):
            blobs = await self._store.blobs(every[first : first + BLOBS_PAGE])
            yield [decode_process(blob) for blob in blobs if blob is not None]

    async def refused_shards(self) -> list[RefusedShard]:
        """Shards that do no work until a person has acted."""
        refusals = await self._store.refusals()
        return [msgspec.json.decode(blob, type=RefusedShard) for _, blob in sorted(refusals.items())]
