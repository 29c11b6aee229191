"""Cutting the last batch off a partition's files."""

from __future__ import annotations

import struct
from pathlib import Path

from deploy.chaos.kafka_files import batch_starts, cut_from


def batch(offset: int, size: int) -> bytes:
    return struct.pack(">qi11xi", offset, size, 0) + b"x" * (size - 15)


def test_batches_are_found_and_unwritten_space_is_none() -> None:
    assert batch_starts(batch(0, 50) + batch(1, 70) + b"\0" * 100) == [0, 62]
    assert batch_starts(b"") == []


def test_a_batch_and_what_follows_it_are_cut_and_what_the_broker_makes_anew_goes(tmp_path: Path) -> None:
    (tmp_path / "00.log").write_bytes(batch(0, 50) + batch(1, 70) + batch(2, 60))
    for name in ("00.index", "00.timeindex", "02.snapshot", "leader-epoch-checkpoint"):
        (tmp_path / name).write_bytes(b"")
    assert cut_from(tmp_path, 1)
    assert (tmp_path / "00.log").read_bytes() == batch(0, 50)
    assert {file.name for file in tmp_path.iterdir()} == {"00.log", "leader-epoch-checkpoint"}


def test_a_partition_that_does_not_hold_the_offset_or_nothing_else_is_left_alone(tmp_path: Path) -> None:
    assert not cut_from(tmp_path, 0)
    (tmp_path / "00.log").write_bytes(batch(0, 50))
    assert not cut_from(tmp_path, 0)
    assert not cut_from(tmp_path, 1)
