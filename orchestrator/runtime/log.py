"""The port to the log (Kafka): what the loops rely on. Adapters: `log_memory`, `log_kafka`; one conformance suite
over both.

A *place* is one partition of one topic. Offsets count records from 0; "next" offsets name the first record that is not
yet done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from contracts.record import IncomingRecord, OutgoingRecord


class Place(NamedTuple):
    topic: str
    partition: int


class LogUnavailable(RuntimeError):
    """The log cannot be reached, or did not answer in time. Nothing is known to have been done; wait and try again."""


class AppendFailed(LogUnavailable):
    """An append was not acknowledged. Any part of it may be in the log, and no more of it will get there later: the
    appender has given up its old connection (and with it the sequence numbers) and starts clean with the next
    append."""


class AppendRefused(RuntimeError):
    """The log will never take the record at `index` of the append (too large, or no such topic). Of the other
    records any may be in the log."""

    def __init__(self, index: int, detail: str) -> None:
        super().__init__(f"record {index} was refused for good: {detail}")
        self.index = index
        self.detail = detail


class PositionLost(RuntimeError):
    """The log no longer has, or never had, the offset that was to be read next at these places."""

    def __init__(self, places: frozenset[Place]) -> None:
        super().__init__(f"position out of range at {sorted(places)}")
        self.places = places


class Ack(NamedTuple):
    """Where a record is. `offset` and `timestamp_ms` are None if the broker recognised a repeat it no longer
    remembers."""

    place: Place
    offset: int | None
    timestamp_ms: int | None
    """The broker's append time."""


class Appender(Protocol):
    """Appends records. One appender is used by one task at a time."""

    async def append(self, records: Sequence[OutgoingRecord]) -> Sequence[Ack]:
        """Append all records and return once *every* one is acknowledged by all in-sync replicas; acks in order of
        `records`. Records for the same place keep their order, without gaps and without repeats.

        Cancellation leaves it unknown which records were stored.

        Raises:
            AppendFailed: not acknowledged within the adapter's time limit.
            AppendRefused: a record can never be stored.
        """

    async def close(self) -> None:
        """Give up the connection. Waits for nothing that is not acknowledged yet."""


class Membership(Protocol):
    """Told by a subscription which places are its own. Neither call may raise."""

    def assigned(self, places: frozenset[Place]) -> None:
        """These places are ours now. With `start="claimed"` they are paused and have no position: the owner seeks and
        resumes. Must not block: the group waits."""

    async def revoked(self, places: frozenset[Place]) -> None:
        """These places are about to be somebody else's; after return nothing may be done in their name. Bounded by the
        adapter: past its limit the places are lost all the same."""


class Subscription(Protocol):
    """One member of a consumer group.

    Delivery: at least once, each place in offset order from its position on. Nothing is committed but by `commit`.
    While the log is away, `poll` returns nothing and `problem` says so; the adapter reconnects by itself, for ever.
    """

    async def poll(self, timeout_ms: int) -> Mapping[Place, Sequence[IncomingRecord]]:
        """What has arrived at all places that are not paused, or an empty mapping after `timeout_ms`. What is
        returned is passed: the position is behind it. Cancellation loses nothing.

        Raises:
            PositionLost: the places stay where they are until the owner seeks.
        """

    def seek(self, place: Place, offset: int) -> None:
        """Read from `offset` on next. Ignored for a place that is not ours any more."""

    def pause(self, places: frozenset[Place]) -> None:
        """Return nothing from these places until resumed. Places that are not ours are ignored."""

    def resume(self, places: frozenset[Place]) -> None:
        """Undo `pause`. Places that are not ours are ignored."""

    async def commit(self, offsets: Mapping[Place, int]) -> bool:
        """Store the next offsets of this group. False if this member may not (it was expelled, or a place is not its
        own): nothing is stored then.

        Raises:
            LogUnavailable: it is unknown whether they are stored.
        """

    async def committed(self, places: frozenset[Place]) -> Mapping[Place, int | None]:
        """The group's stored next offsets, None where there is none. Raises LogUnavailable."""

    async def bounds(self, places: frozenset[Place]) -> Mapping[Place, tuple[int, int]]:
        """Log start and log end (the next offset to be given out) per place. Raises LogUnavailable."""

    def lag(self) -> int:
        """Records that are in the log, as far as known, and were not returned by `poll` yet, over our places."""

    @property
    def problem(self) -> str | None:
        """None while this member is connected and has its assignment, else what is the matter, in one line."""

    async def close(self) -> None:
        """Leave. Commits nothing."""


class Reader(Protocol):
    """Reads a place from one offset to another, beside all groups. One reader is used by one task at a time."""

    async def bounds(self, place: Place) -> tuple[int, int]:
        """Log start and log end. Raises LogUnavailable."""

    def read(self, place: Place, start: int, end: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        """What is still there of the records at `start` and behind it, up to `end`, in batches and in offset order.
        Offsets may be missing: compaction takes records out. Raises LogUnavailable."""

    async def close(self) -> None:
        """Give up the connection."""


Start = Literal["claimed", "committed"]
"""Where places start: paused until their owner has seeked, or at the group's offset (the log's start if it has
none)."""


class Log(Protocol):
    """A connection to the log: makes appenders and subscriptions."""

    async def appender(self) -> Appender:
        """A new appender. Connects with its first append."""

    async def reader(self) -> Reader:
        """A new reader. Connects with its first call."""

    async def subscribe(
        self, group: str, topics: frozenset[str], membership: Membership | None, start: Start
    ) -> Subscription:
        """Become a member of `group` that reads `topics`. Returns at once; the first assignment comes later."""
