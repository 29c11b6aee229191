"""What is in `orchestrator.snapshots`: records of processes and the cut of a shard, as values (docs/decisions/0045).

Keys of a partition, which is a shard:

    <process id>               the head: where the snapshot was taken, and the state
    <process id>#history/<n>   history, which only grows: the n-th record has what came since the (n-1)-th
    <process id>#state/<at>/<n>   a piece of a state that is too large for the head, taken at offset <at>
    #cut                       where a replay starts

A head is written after everything that it names, and nothing that a head names is erased before the next head is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from contracts.record import OutgoingRecord, erasing
from contracts.topics import SNAPSHOTS
from orchestrator.runtime.snapshot_store import Mark

RECORD_BYTES_MAX = 512 * 1024
"""Payload of one record: half of what the topic takes."""
CUT_KEY = "#cut"
PART_INFIX = "#history/"
PIECE_INFIX = "#state/"


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """`blob` None: the process is no more. `mark`: see `snapshot_store.Mark`."""

    mark: str
    semantics: int
    saga: str = ""
    blob: bytes | None = None


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """History entries from number `first` on. `tail`: the last one goes on in the next part; `rest`: the first one is
    what was missing."""

    first: int
    entries: list[bytes]
    tail: bool = False
    rest: bool = False


class Cut(msgspec.Struct, frozen=True):
    """Every state that inputs below `offset` have made is in this partition, or needs no input below it."""

    offset: int
    record_id: str
    semantics: int
    at_ms: int


_encode = msgspec.msgpack.Encoder().encode


def encode_cut(shard: int, cut: Cut) -> OutgoingRecord:
    return _record(shard, CUT_KEY, _encode(cut))


def take_history(
    shard: int, process_id: str, mark: Mark, history: Sequence[bytes]
) -> tuple[list[OutgoingRecord], Mark]:
    """The records of history entries that continue those of `mark`, and the mark with them in it."""
    parts = list(_parts(mark.entries, history))
    records = [
        _record(shard, f"{process_id}{PART_INFIX}{mark.parts + number}", _encode(part))
        for number, part in enumerate(parts)
    ]
    return records, replace(mark, parts=mark.parts + len(parts), entries=mark.entries + len(history))


def take_state(
    shard: int, process_id: str, saga: str, blob: bytes | None, before: Mark | None, mark: Mark, semantics: int
) -> tuple[list[OutgoingRecord], Mark]:
    """The records that complete a snapshot, after those of its history, and what to note of it. `before`: what the
    topic has of the process so far, and what is erased where this snapshot does not name it."""
    pieces = list(_slices(blob)) if blob is not None and len(blob) > RECORD_BYTES_MAX else []
    records = [
        _record(shard, f"{process_id}{PIECE_INFIX}{mark.next}/{number}", piece) for number, piece in enumerate(pieces)
    ]
    mark = replace(mark, pieces=len(pieces))
    head = Head(mark.encode(), semantics, saga, None if pieces else blob)
    records.append(_record(shard, process_id, _encode(head)))
    if before is not None:
        records += _replaced(shard, process_id, before, mark)
    return records, mark


def erase(shard: int, process_id: str) -> OutgoingRecord:
    """The last that the topic hears of a process that is no more: its parts were erased with its expiry."""
    return erasing(SNAPSHOTS, process_id.encode(), shard)


def _replaced(shard: int, process_id: str, before: Mark, mark: Mark) -> Iterator[OutgoingRecord]:
    for number in range(mark.parts, before.parts):
        yield erasing(SNAPSHOTS, f"{process_id}{PART_INFIX}{number}".encode(), shard)
    kept = mark.pieces if before.next == mark.next else 0
    for number in range(kept, before.pieces):
        yield erasing(SNAPSHOTS, f"{process_id}{PIECE_INFIX}{before.next}/{number}".encode(), shard)


def _parts(first: int, history: Sequence[bytes]) -> Iterator[Part]:
    """Records of bounded size; an entry that is larger than one goes over several."""
    entries: list[bytes] = []
    size, begin, rest = 0, first, False
    for number, entry in enumerate(history, first):
        slices = list(_slices(entry))
        for position, piece in enumerate(slices):
            if entries and size + len(piece) > RECORD_BYTES_MAX:
                yield Part(begin, entries, position > 0, rest)
                entries, size, begin, rest = [], 0, number, position > 0
            entries.append(piece)
            size += len(piece)
    if entries:
        yield Part(begin, entries, False, rest)


def _slices(data: bytes) -> Iterator[bytes]:
    for begin in range(0, max(len(data), 1), RECORD_BYTES_MAX):
        yield data[begin : begin + RECORD_BYTES_MAX]


def _record(shard: int, key: str, value: bytes) -> OutgoingRecord:
    return OutgoingRecord(SNAPSHOTS, key.encode(), value, (), shard)


def decode_head(value: bytes) -> Head:
    """Raises msgspec.DecodeError or ValidationError, as the other two do."""
    return msgspec.msgpack.decode(value, type=Head)


def decode_part(value: bytes) -> Part:
    return msgspec.msgpack.decode(value, type=Part)


def decode_cut(value: bytes) -> Cut:
    return msgspec.msgpack.decode(value, type=Cut)
