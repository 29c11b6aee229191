"""Puts a shard back from its snapshots, after the store has lost it (docs/decisions/0045-snapshots.md).

The partition is read twice: first to learn which record of each key is the last, then to write those, in bounded
batches. The shard gets its position with the last write, so that a half-restored one is none; whoever begins a restore
later takes it over, and the first cannot write any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from contracts.record import IncomingRecord
from contracts.topics import SNAPSHOTS
from orchestrator.runtime.checkpoint import process_write, removal
from orchestrator.runtime.log import Log, Place, Reader
from orchestrator.runtime.metrics import SnapshotMetrics
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.snapshot_store import Mark, Restored, WholeStore
from orchestrator.runtime.snapshots import (
    CUT_KEY,
    PART_INFIX,
    PIECE_INFIX,
    Cut,
    decode_cut,
    decode_head,
    decode_part,
)
from orchestrator.runtime.store import ShardPosition

log = structlog.get_logger(__name__)

BATCH_PROCESSES = 200
BATCH_BYTES_MAX = 2 * 1024 * 1024
"""Of states in one call to the store."""
PROGRESS_RECORDS = 10_000


class SnapshotsDamaged(RuntimeError):
    """The snapshots of a shard do not fit together; a person must decide."""


@dataclass(slots=True)
class _Survey:
    """What a partition has. Grows with the number of keys, which is that of the shard's processes and their parts."""

    cut: Cut | None = None
    last: dict[bytes, int] = field(default_factory=dict)
    """Key -> offset of its last record."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """Of the heads that are the last of their process."""


class Restorer:
    """`new_id` makes tokens and checkpoint ids."""

    def __init__(
        self, log: Log, store: WholeStore, rules: Rules, metrics: SnapshotMetrics, new_id: Callable[[], str]
    ) -> None:
        self._log = log
        self._store = store
        self._rules = rules
        self._metrics = metrics
        self._new_id = new_id

    async def find_cut(self, number: int) -> Cut | None:
        """The cut of a shard; None if the topic has none. Raises LogUnavailable, SnapshotsDamaged."""
        reader = await self._log.reader()
        try:
            return (await self._survey(reader, number)).cut
        finally:
            await reader.close()

    async def without(self, numbers: Sequence[int]) -> frozenset[int]:
        """Those of the shards that have no snapshots at all. Raises LogUnavailable."""
        reader = await self._log.reader()
        try:
            return frozenset([number for number in numbers if (await reader.bounds(Place(SNAPSHOTS, number)))[1] == 0])
        finally:
            await reader.close()

    async def restore(self, number: int) -> bool:
        """Put the shard back as its snapshots have it; its position is the cut. False: there is no cut.

        Raises:
            LogUnavailable, StoreUnavailable: try again, from the beginning.
            StaleRestore: somebody else does it.
            SnapshotsDamaged, ShortHistory: it cannot be done.
        """
        reader = await self._log.reader()
        try:
            survey = await self._survey(reader, number)
            if survey.cut is None:
                return False
            token = self._new_id()
            await self._store.begin_restore(number, token)
            writer = _Writer(self._store, self._rules, number, token, survey.cut.offset)
            async for record in _records(reader, number):
                if record.value is not None and survey.last.get(record.key or b"") == record.offset:
                    await self._put(writer, survey, record, record.value)
            await writer.flush()
            cut = survey.cut
            position = ShardPosition(cut.offset, cut.record_id, self._new_id(), cut.semantics)
            await self._store.finish_restore(number, token, position)
        finally:
            await reader.close()
        self._metrics.restored(writer.processes)
        log.warning("a shard is restored", shard=number, processes=writer.processes, cut=cut.offset)
        return True

    async def _survey(self, reader: Reader, number: int) -> _Survey:
        survey = _Survey()
        try:
            async for record in _records(reader, number):
                key = record.key or b""
                survey.last[key] = record.offset
                text = key.decode()
                if text == CUT_KEY:
                    survey.cut = None if record.value is None else decode_cut(record.value)
                elif PART_INFIX in text or PIECE_INFIX in text:
                    continue
                elif record.value is None:
                    survey.marks.pop(text, None)
                else:
                    survey.marks[text] = Mark.decode(decode_head(record.value).mark)
        except (msgspec.DecodeError, ValueError) as error:
            raise SnapshotsDamaged(f"shard {number}: a snapshot cannot be read: {error}") from error
        return survey

    async def _put(self, writer: _Writer, survey: _Survey, record: IncomingRecord, value: bytes) -> None:
        text = (record.key or b"").decode()
        self._metrics.restoring()
        if text == CUT_KEY:
            return
        process_id, part, number = text.partition(PART_INFIX)
        if part:
            mark = survey.marks.get(process_id)
            if mark is not None and int(number) < mark.parts:
                await writer.history(process_id, value)
            return
        process_id, piece, _ = text.partition(PIECE_INFIX)
        if piece:
            writer.piece(process_id, value, text, survey.marks.get(process_id))
            return
        await writer.head(process_id, value)


async def _records(reader: Reader, number: int) -> AsyncIterator[IncomingRecord]:
    place = Place(SNAPSHOTS, number)
    start, end = await reader.bounds(place)
    async for batch in reader.read(place, start, end):
        for record in batch:
            yield record


class _Writer:
    """Collects what one shard is restored from, and writes it in batches."""

    def __init__(self, store: WholeStore, rules: Rules, number: int, token: str, cut: int) -> None:
        self.processes = 0
        self._store = store
        self._rules = rules
        self._number = number
        self._token = token
        self._cut = cut
        self._batch: list[Restored] = []
        self._size = 0
        self._tails: dict[str, bytes] = {}
        self._pieces: dict[str, list[bytes]] = {}

    async def history(self, process_id: str, value: bytes) -> None:
        part = decode_part(value)
        entries = part.entries
        if part.rest:
            entries[0] = self._tails.pop(process_id, b"") + entries[0]
        if part.tail:
            self._tails[process_id] = entries.pop()
        await self._store.restore_history(self._number, self._token, process_id, part.first, entries)

    def piece(self, process_id: str, value: bytes, key: str, mark: Mark | None) -> None:
        if mark is not None and key.startswith(f"{process_id}{PIECE_INFIX}{mark.next}/"):
            self._pieces.setdefault(process_id, []).append(value)

    async def head(self, process_id: str, value: bytes) -> None:
        head = decode_head(value)
        mark = Mark.decode(head.mark)
        pieces = self._pieces.pop(process_id, [])
        if len(pieces) != mark.pieces:
            raise SnapshotsDamaged(f"{process_id}: {len(pieces)} pieces of a state of {mark.pieces}")
        blob = b"".join(pieces) if pieces else head.blob
        if blob is None:
            write = removal(process_id, None, 0)
        else:
            write = process_write(None, self._rules.decode(blob), blob, ())
        self._batch.append(Restored(process_id, head.saga, write, mark, mark.next > self._cut))
        self._size += len(blob or b"")
        self.processes += 1
        if len(self._batch) >= BATCH_PROCESSES or self._size > BATCH_BYTES_MAX:
            await self.flush()

    async def flush(self) -> None:
        if self._batch:
            await self._store.restore(self._number, self._token, self._batch)
        self._batch, self._size = [], 0
