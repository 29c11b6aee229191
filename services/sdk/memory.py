"""The bus in memory: a public test tool with topics, partitions, groups and rebalances, and a real one's faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.ids import partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import DOMAIN_PARTITIONS
from services.sdk.failures import BusAwayError
from services.sdk.ports import Bounds, Listener, Place


@dataclass
class _Group:
    committed: dict[Place, int] = field(default_factory=dict)
    members: dict[str, MemorySubscription] = field(default_factory=dict)


class MemoryBus:
    """`now_ms` is the broker's clock. `away` is a fault: while set, nothing can be published, read or committed."""

    def __init__(self, topics: Sequence[str], now_ms: Callable[[], int], partitions: int = DOMAIN_PARTITIONS) -> None:
        self._count = partitions
        self._now_ms = now_ms
        self._logs: dict[Place, list[IncomingRecord]] = {
            Place(topic, number): [] for topic in topics for number in range(partitions)
        }
        self._topics = frozenset(topics)
        self.published: list[IncomingRecord] = []
        """What came through `publish`, in order; `append` stands for everybody else."""
        self._groups: dict[str, _Group] = {}
        self._appended = asyncio.Event()
        self._reachable = asyncio.Event()
        self.away = False

    @property
    def away(self) -> bool:
        return not self._reachable.is_set()

    @away.setter
    def away(self, away: bool) -> None:
        if away:
            self._reachable.clear()
        else:
            self._reachable.set()

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        await self._reachable.wait()
        for record in records:
            place = self.append(record)
            self.published.append(self._logs[place][-1])

    def append(self, record: OutgoingRecord, timestamp_ms: int | None = None) -> Place:
        """As a foreign producer does; `timestamp_ms` stands in for the broker's append time. Raises KeyError for a
        topic that does not exist."""
        if record.topic not in self._topics:
            raise KeyError(record.topic)
        number = record.partition
        if number is None:
            number = partition_of(record.key.decode(errors="replace"), self._count) if record.key else 0
        place = Place(record.topic, number)
        log = self._logs[place]
        at_ms = self._now_ms() if timestamp_ms is None else timestamp_ms
        log.append(IncomingRecord(record.topic, number, len(log), at_ms, record.key, record.value, record.headers))
        self._appended.set()
        return place

    def read(self, topic: str) -> list[IncomingRecord]:
        """All records of a topic, partition by partition."""
        return [record for place, log in self._logs.items() if place.topic == topic for record in log]

    def committed(self, group: str) -> dict[Place, int]:
        return dict(self._group(group).committed)

    def ends(self, topics: Sequence[str]) -> dict[Place, int]:
        """The next offset of every partition of these topics."""
        return {place: len(log) for place, log in self._logs.items() if place.topic in topics}

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        self._reach()
        return {topic: self._count for topic in topics if topic in self._topics}

    def subscription(self, group: str, member: str, topics: Sequence[str]) -> MemorySubscription:
        return MemorySubscription(self, group, member, frozenset(topics))

    def _reach(self) -> None:
        if self.away:
            raise BusAwayError("the memory bus plays away")

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    async def rebalance(self, group: str) -> None:
        """Revoke all, then deal the partitions out in turn, as an eager rebalance does."""
        members = self._group(group).members
        for member in members.values():
            await member.lose()
        ordered = [members[name] for name in sorted(members)]
        for index, member in enumerate(ordered):
            places = sorted(place for place in self._logs if place.topic in member.topics)
            member.gain(frozenset(places[index :: len(ordered)]))


class MemorySubscription:
    def __init__(self, bus: MemoryBus, group: str, member: str, topics: frozenset[str]) -> None:
        self._bus = bus
        self._group = group
        self._member = member
        self.topics = topics
        self._listener: Listener | None = None
        self._assigned: frozenset[Place] = frozenset()
        self._reading: dict[Place, int] = {}

    async def start(self, listener: Listener) -> None:
        self._bus._reach()
        self._listener = listener
        self._bus._group(self._group).members[self._member] = self
        await self._bus.rebalance(self._group)

    async def lose(self) -> None:
        assert self._listener is not None, "a member of a group has started"
        await self._listener.revoked()
        self._assigned, self._reading = frozenset(), {}

    def gain(self, places: frozenset[Place]) -> None:
        assert self._listener is not None, "a member of a group has started"
        self._assigned = places
        self._listener.assigned(places)

    async def poll(self, wait_s: float) -> Sequence[IncomingRecord]:
        self._bus._reach()
        records = self._fetch()
        if not records and wait_s > 0:
            self._bus._appended.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._bus._appended.wait()
            except TimeoutError:
                return []
            records = self._fetch()
        else:
            await asyncio.sleep(0)
        return records

    def _fetch(self) -> list[IncomingRecord]:
        found: list[IncomingRecord] = []
        for place, offset in list(self._reading.items()):
            records = self._bus._logs[place][offset:]
            self._reading[place] = offset + len(records)
            found.extend(records)
        return found

    async def committed(self, places: frozenset[Place]) -> dict[Place, int]:
        self._bus._reach()
        offsets = self._bus._group(self._group).committed
        return {place: offsets[place] for place in places if place in offsets}

    async def bounds(self, places: frozenset[Place]) -> dict[Place, Bounds]:
        self._bus._reach()
        return {place: Bounds(0, len(self._bus._logs[place])) for place in places}

    async def offsets_at(self, places: frozenset[Place], at_ms: int) -> dict[Place, int]:
        self._bus._reach()
        found: dict[Place, int] = {}
        for place in places:
            log = self._bus._logs[place]
            found[place] = next((record.offset for record in log if record.timestamp_ms >= at_ms), len(log))
        return found

    def seek_and_resume(self, offsets: Mapping[Place, int]) -> None:
        self._reading.update({place: offset for place, offset in offsets.items() if place in self._assigned})
        self._bus._appended.set()

    def pause(self, places: frozenset[Place]) -> None:
        for place in places:
            self._reading.pop(place, None)

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        self._bus._reach()
        strangers = [place for place in offsets if place not in self._assigned]
        if strangers:
            raise BusAwayError(f"{strangers[0]} is not assigned to {self._member}")
        self._bus._group(self._group).committed.update(offsets)

    def ends(self, places: frozenset[Place]) -> dict[Place, int]:
        return {place: len(self._bus._logs[place]) for place in places}

    async def close(self) -> None:
        """The others get its partitions with the next rebalance."""
        self._bus._group(self._group).members.pop(self._member, None)
        self._assigned, self._reading = frozenset(), {}
