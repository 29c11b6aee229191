"""Kafka records as plain values, so that nothing but the adapters knows a Kafka client.

Named tuples: several are made of every record, and making a frozen dataclass takes three times as long.
"""

from __future__ import annotations

from typing import NamedTuple, cast

Headers = tuple[tuple[str, bytes], ...]


class OutgoingRecord(NamedTuple):
    """A record to append. `partition=None` leaves the choice to the key (murmur2, as the Java client does)."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    partition: int | None = None


def erasing(topic: str, key: bytes, partition: int) -> OutgoingRecord:
    """A record without a value: compaction forgets the key. (The one kind that has none: the type of all others keeps
    its promise, and this one's is a cast.)"""
    return OutgoingRecord(topic, key, cast(bytes, None), (), partition)


class IncomingRecord(NamedTuple):
    """A record as read. `timestamp_ms` is the broker's append time (all topics use log-append time)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
