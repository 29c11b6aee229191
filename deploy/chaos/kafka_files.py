"""A log that lost its tail: its last batches cut off a partition's files, as a broker's disk may lose them. Only while
the broker is down.
"""

from __future__ import annotations

import struct
from pathlib import Path

LENGTH_OFFSET = 8
"""Of the length field in a record batch (Kafka's message format v2: base offset, then the length of what follows)."""
HEADER_BYTES = 12
DELTA_OFFSET = 23
"""Of the field that says how many offsets after its first one the batch ends."""
LEFT_OUT = ("*.index", "*.timeindex", "*.snapshot", "*.txnindex")
"""What the broker makes anew from the log."""


def cut_from(partition: Path, offset: int) -> bool:
    """Cut the batch that holds this offset off the newest segment, with all that follows. False: the segment does not
    hold it, or nothing would be left of it."""
    segments = sorted(partition.glob("*.log"))
    if not segments:
        return False
    log = segments[-1].read_bytes()
    starts = batch_starts(log)
    ends_before = [start for start in starts if _last_offset(log, start) < offset]
    if not ends_before or len(ends_before) == len(starts):
        return False
    with segments[-1].open("r+b") as file:
        file.truncate(starts[len(ends_before)])
    for pattern in LEFT_OUT:
        for file_made_anew in partition.glob(pattern):
            file_made_anew.unlink()
    return True


def batch_starts(log: bytes) -> list[int]:
    """Where in a segment its batches begin."""
    starts, place = [], 0
    while place + HEADER_BYTES <= len(log):
        (length,) = struct.unpack_from(">i", log, place + LENGTH_OFFSET)
        if length <= 0:
            break  # preallocated, and not written yet
        starts.append(place)
        place += HEADER_BYTES + length
    return starts


def _last_offset(log: bytes, start: int) -> int:
    (first,) = struct.unpack_from(">q", log, start)
    (delta,) = struct.unpack_from(">i", log, start + DELTA_OFFSET)
    return int(first + delta)
