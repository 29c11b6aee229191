"""The log in memory: the same promises as Kafka, deterministic, with faults to order. For tests and simulations."""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.ids import partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from orchestrator.runtime.log import (
    Ack,
    AppendFailed,
    AppendRefused,
    LogUnavailable,
    Membership,
    Place,
    PositionLost,
    Start,
)


@dataclass(slots=True)
class LogFaults:
    """What goes wrong next. Each is used up by the call that meets it."""

    append_cuts: list[int] = field(default_factory=list)
    """The next append stores only so many of its records, then fails. A number beyond its length: all are stored,
    but the answer is lost."""
    away: bool = False
    """While true, every call fails and polls return nothing."""
    refused_types: set[str] = field(default_factory=set)
    """Records with these `ce_type`s are refused for good."""


class _Partition:
    def __init__(self) -> None:
        self.records: list[IncomingRecord] = []
        self.start = 0
        self.end = 0

    def index(self, offset: int) -> int:
        """Of the first record at or behind `offset`."""
        return bisect_left(self.records, offset, key=lambda record: record.offset)


class MemoryLog:
    """`topics`: name -> number of partitions. `now_ms` is the broker's clock."""

    def __init__(self, topics: Mapping[str, int], now_ms: Callable[[], int]) -> None:
        self.faults = LogFaults()
        self._now_ms = now_ms
        self._partitions = {Place(t, p): _Partition() for t, count in topics.items() for p in range(count)}
        self._counts = dict(topics)
        self._groups: dict[str, _Group] = {}
        self._arrival = asyncio.Event()

    # What tests do to it and read from it.

    def records(self, topic: str) -> list[IncomingRecord]:
        """Everything still in the topic, by partition and offset."""
        return [r for place, part in sorted(self._partitions.items()) if place.topic == topic for r in part.records]

    def places(self, topic: str) -> list[Place]:
        """The topic's partitions."""
        return sorted(place for place in self._partitions if place.topic == topic)

    def bounds_of(self, place: Place) -> tuple[int, int]:
        return self._partitions[place].start, self._partitions[place].end

    def trim(self, place: Place, start: int) -> None:
        """Retention: forget the records below `start`."""
        part = self._partitions[place]
        del part.records[: part.index(start)]
        part.start = start

    def compact(self, place: Place) -> None:
        """What a compacted topic does in time: of each key only the last record stays, and none without a value."""
        part = self._partitions[place]
        last = {record.key: record.offset for record in part.records}
        part.records = [one for one in part.records if last[one.key] == one.offset and one.value is not None]

    def cut(self, place: Place, end: int) -> None:
        """A broker lost its tail: forget the records from `end` on."""
        part = self._partitions[place]
        del part.records[part.index(end) :]
        part.end = end

    def mark(self, place: Place) -> None:
        """An offset that no consumer ever sees: what a transaction leaves behind."""
        self._partitions[place].end += 1

    def committed_of(self, group: str, place: Place) -> int | None:
        found = self._groups.get(group)
        return None if found is None else found.offsets.get(place)

    def commit_start(self, group: str, topic: str) -> None:
        """What `topics apply` does for a topic that it has just made: the group stands at 0."""
        offsets = self._groups.setdefault(group, _Group()).offsets
        offsets.update((place, 0) for place in self._partitions if place.topic == topic)

    def forget_offsets(self, group: str) -> None:
        """The group's offsets expire."""
        if group in self._groups:
            self._groups[group].offsets.clear()

    def put(self, record: OutgoingRecord) -> Ack:
        """Append one record at once, past all faults (what a stranger does)."""
        count = self._counts[record.topic]
        if record.partition is not None:
            partition = record.partition
        else:
            partition = 0 if record.key is None else partition_of(record.key.decode(errors="replace"), count)
        place = Place(record.topic, partition)
        part = self._partitions[place]
        at_ms = self._now_ms()
        offset, part.end = part.end, part.end + 1
        part.records.append(
            IncomingRecord(record.topic, partition, offset, at_ms, record.key, record.value, record.headers)
        )
        self._arrival.set()
        return Ack(place, offset, at_ms)

    # The port.

    async def appender(self) -> MemoryAppender:
        return MemoryAppender(self)

    async def reader(self) -> MemoryReader:
        return MemoryReader(self)

    async def subscribe(
        self, group: str, topics: frozenset[str], membership: Membership | None, start: Start
    ) -> MemorySubscription:
        places = sorted(place for place in self._partitions if place.topic in topics)
        joined = self._groups.setdefault(group, _Group())
        member = MemorySubscription(self, joined, membership, start)
        joined.members.append(member)
        await joined.rebalance(places)
        return member

    async def _wait_for_arrival(self, timeout_ms: int) -> None:
        self._arrival.clear()
        try:
            await asyncio.wait_for(self._arrival.wait(), timeout_ms / 1000)
        except TimeoutError:
            return

    def wake(self) -> None:
        """Let waiting polls look again."""
        self._arrival.set()


class _Group:
    def __init__(self) -> None:
        self.members: list[MemorySubscription] = []
        self.offsets: dict[Place, int] = {}

    async def rebalance(self, places: Sequence[Place]) -> None:
        """Eager, as aiokafka does it: everyone gives up everything, then all is dealt out anew."""
        for member in self.members:
            await member.lose_all()
        if not self.members:
            return
        dealt: dict[int, list[Place]] = {number: [] for number in range(len(self.members))}
        for number, place in zip(itertools.cycle(dealt), places, strict=False):
            dealt[number].append(place)
        for number, member in enumerate(self.members):
            member.gain(frozenset(dealt[number]))


class MemoryAppender:
    """An `Appender` on a MemoryLog."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def append(self, records: Sequence[OutgoingRecord]) -> Sequence[Ack]:
        await asyncio.sleep(0)
        faults = self._log.faults
        if faults.away:
            raise AppendFailed("the log is away")
        if faults.refused_types:
            self._check_refused(records)
        if faults.append_cuts:
            stored = records[: faults.append_cuts.pop(0)]
            for record in stored:
                self._log.put(record)
            raise AppendFailed(f"{len(stored)} of {len(records)} records were stored")
        return [self._log.put(record) for record in records]

    def _check_refused(self, records: Sequence[OutgoingRecord]) -> None:
        for index, record in enumerate(records):
            kind = dict(record.headers).get("ce_type", b"").decode()
            if kind in self._log.faults.refused_types:
                raise AppendRefused(index, f"{kind} is refused")

    async def close(self) -> None:
        """Nothing to give up."""


class MemoryReader:
    """A `Reader` on a MemoryLog."""

    BATCH = 100

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def bounds(self, place: Place) -> tuple[int, int]:
        await asyncio.sleep(0)
        if self._log.faults.away:
            raise LogUnavailable("the log is away")
        return self._log.bounds_of(place)

    async def read(self, place: Place, start: int, end: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        part = self._log._partitions[place]
        while True:
            await asyncio.sleep(0)
            if self._log.faults.away:
                raise LogUnavailable("the log is away")
            first = part.index(start)
            found = [one for one in part.records[first : first + self.BATCH] if one.offset < end]
            if not found:
                return
            yield found
            start = found[-1].offset + 1

    async def close(self) -> None:
        """Nothing to give up."""


class MemorySubscription:
    """A `Subscription` on a MemoryLog."""

    def __init__(self, log: MemoryLog, group: _Group, membership: Membership | None, start: Start) -> None:
        self._log = log
        self._group = group
        self._membership = membership
        self._start = start
        self._positions: dict[Place, int | None] = {}
        self._paused: set[Place] = set()
        self.expelled = False
        """Set by a test: this member goes on in the belief that it owns its places, but may not commit (a zombie)."""

    def gain(self, places: frozenset[Place]) -> None:
        """Called by the group."""
        if self._start == "claimed":
            self._positions = dict.fromkeys(places)
            self._paused = set(places)
        else:
            self._positions = {place: self._group.offsets.get(place, self._log.bounds_of(place)[0]) for place in places}
        if self._membership is not None:
            self._membership.assigned(places)

    async def lose_all(self) -> None:
        """Called by the group."""
        places = frozenset(self._positions)
        if places and self._membership is not None:
            await self._membership.revoked(places)
        self._positions = {}
        self._paused = set()

    async def poll(self, timeout_ms: int) -> Mapping[Place, Sequence[IncomingRecord]]:
        await asyncio.sleep(0)
        found = self._take()
        if not found and timeout_ms > 0:
            await self._log._wait_for_arrival(timeout_ms)
            found = self._take()
        return found

    def _take(self) -> dict[Place, list[IncomingRecord]]:
        if self._log.faults.away:
            return {}
        found: dict[Place, list[IncomingRecord]] = {}
        lost = set()
        for place, position in self._positions.items():
            if position is None or place in self._paused:
                continue
            start, end = self._log.bounds_of(place)
            if not start <= position <= end:
                lost.add(place)
            elif position < end:
                part = self._log._partitions[place]
                found[place] = part.records[part.index(position) :]
        if lost:
            raise PositionLost(frozenset(lost))
        for place in found:
            self._positions[place] = self._log.bounds_of(place)[1]
        return {place: records for place, records in found.items() if records}

    def seek(self, place: Place, offset: int) -> None:
        if place in self._positions:
            self._positions[place] = offset
            self._log.wake()

    def pause(self, places: frozenset[Place]) -> None:
        self._paused |= places & self._positions.keys()

    def resume(self, places: frozenset[Place]) -> None:
        self._paused -= places
        self._log.wake()

    async def commit(self, offsets: Mapping[Place, int]) -> bool:
        await asyncio.sleep(0)
        self._check_away()
        if self.expelled or not offsets.keys() <= self._positions.keys():
            return False
        self._group.offsets.update(offsets)
        return True

    async def committed(self, places: frozenset[Place]) -> Mapping[Place, int | None]:
        await asyncio.sleep(0)
        self._check_away()
        return {place: self._group.offsets.get(place) for place in places}

    async def bounds(self, places: frozenset[Place]) -> Mapping[Place, tuple[int, int]]:
        await asyncio.sleep(0)
        self._check_away()
        return {place: self._log.bounds_of(place) for place in places}

    def _check_away(self) -> None:
        if self._log.faults.away:
            raise LogUnavailable("the log is away")

    def lag(self) -> int:
        return sum(
            self._log.bounds_of(place)[1] - position
            for place, position in self._positions.items()
            if position is not None
        )

    @property
    def problem(self) -> str | None:
        return "the log is away" if self._log.faults.away else None

    async def close(self) -> None:
        if self in self._group.members:
            places = sorted({place for member in self._group.members for place in member._positions})
            self._group.members.remove(self)
            await self.lose_all()
            await self._group.rebalance(places)

    def vanish(self) -> None:
        """The member's process is killed: no goodbye, and nobody takes over yet."""
        self._group.members.remove(self)
        self._positions = {}
