"""A log that lost its tail: the last batch cut off a partition's files, as a broker's disk may lose it. Only while the
broker is down.
"""

from __future__ import annotations

import struct
from pathlib import Path

LENGTH_OFFSET = 8
"""Of the length field in a record batch (Kafka's message format v2: base offset, then the length of what follows)."""
HEADER_BYTES = 12
LEFT_OUT = ("*.index", "*.timeindex", "*.snapshot", "*.txnindex")
"""What the broker makes anew from the log."""


def cut_last_batch(partition: Path) -> bool:
    """Cut the last batch off the newest segment. False: there is none, or nothing would be left of the segment."""
    segments = sorted(partition.glob("*.log"))
    if not segments:
        return False
    starts = batch_starts(segments[-1].read_bytes())
    if len(starts) < 2:
        return False
    with segments[-1].open("r+b") as file:
        file.truncate(starts[-1])
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
