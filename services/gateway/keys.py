"""The memory of keys: under which id, and with which content, a key has been used. A port with two adapters, memory and
Redis, which pass one suite (`tests/gateway/test_keys.py`)."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """`fingerprint`: of the event's type and data. `received_ms`: when it was first asked for, since the epoch; every
    repeat publishes with that time. `answered`: Kafka has acknowledged it."""

    fingerprint: str
    event_id: str
    received_ms: int
    answered: bool


class KeyMemory(Protocol):
    """Forgets an entry after its retention. A repeated call is harmless."""

    async def reserve(self, name: str, entry: Entry, keep_ms: int) -> Entry:
        """What is under `name`; if there was nothing, `entry` is now, for `keep_ms`. One atomic step.

        Raises:
            StoreAwayError: not reachable; whether it was stored is not known.
        """
        ...

    async def settle(self, name: str, entry: Entry, keep_ms: int) -> None:
        """Store that `entry` is answered. Raises StoreAwayError."""
        ...
