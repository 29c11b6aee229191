"""The one broker of the simulated world: a MemoryLog that tells the world what is appended and committed, and a line to
it for each program, with the faults of a network in between. Implements the orchestrator's port; `bus.py` the SDK's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random

from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX
from orchestrator.runtime.log import Ack, AppendFailed, LogUnavailable, Membership, Place, Start, Subscription
from orchestrator.runtime.log_memory import MemoryLog, MemoryReader, MemorySubscription, _Group
from tests.simulation.program import Program

REVOKE_LIMIT_S = 20.0
"""So long a rebalance waits for a member that does not give up its places (the adapter's bound)."""
BETWEEN_BATCHES = ("poll", "join", "timers", "leave", "committed", "bounds", "topics", "inbox", "positions")
"""Crossings of a program that has nothing in hand."""
HOLD_S = 0.2
"""A partition whose answers are slow is read so much later, at most."""


class SimulatedGroup(_Group):
    """Members may vanish while the others are being asked; one rebalance at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()
        self.topics: frozenset[str] = frozenset()

    async def rebalance(self, places: Sequence[Place]) -> None:
        async with self.lock:
            for member in list(self.members):
                if member in self.members:
                    await member.lose_all()
            for number, member in enumerate(self.members):
                member.gain(frozenset(places[number :: len(self.members)]))


class Broker(MemoryLog):
    """Only the partitions in `inbox_shards` of the inbox exist: the others would be empty all the time.

    `on_put` and `on_commit` are the world's ears; they must not raise.
    """

    def __init__(self, topics: Mapping[str, int], inbox_shards: Sequence[int], now_ms: Callable[[], int]) -> None:
        super().__init__(topics, now_ms)
        self._partitions = {
            place: part
            for place, part in self._partitions.items()
            if place.topic != INBOX or place.partition in inbox_shards
        }
        self.on_put: Callable[[IncomingRecord, Program | None], None] = lambda record, program: None
        self.seen: Counter[str] = Counter()
        """What happened on the way, for the table of coverage."""
        self.on_commit: Callable[[str, Mapping[Place, int], Program], None] = lambda group, offsets, program: None

    def places(self, topics: frozenset[str]) -> list[Place]:
        return sorted(place for place in self._partitions if place.topic in topics)

    def group(self, name: str) -> SimulatedGroup:
        found = self._groups.get(name)
        if not isinstance(found, SimulatedGroup):
            fresh = SimulatedGroup()
            if found is not None:
                fresh.offsets = found.offsets
            found = self._groups[name] = fresh
        return found

    def groups(self) -> list[SimulatedGroup]:
        return [group for group in self._groups.values() if isinstance(group, SimulatedGroup)]

    def put_from(self, record: OutgoingRecord, program: Program | None) -> Ack:
        ack = self.put(record)
        self.on_put(self._partitions[ack.place].records[-1], program)
        return ack


class Line:
    """A program's connection to the broker: the orchestrator's `Log`."""

    def __init__(self, broker: Broker, program: Program, random: Random) -> None:
        self.broker = broker
        self.program = program
        self.random = random
        self.members: list[tuple[SimulatedGroup, MemorySubscription]] = []
        self.cuts: list[float] = []
        """The next append stores only this share of its records; 1.0: all, but the ack is lost."""

    async def appender(self) -> Appender:
        return Appender(self)

    async def reader(self) -> LineReader:
        return LineReader(self.broker, self.program)

    async def subscribe(
        self, group: str, topics: frozenset[str], membership: Membership | None, start: Start
    ) -> LineSubscription:
        await self.program.cross(f"join {group}")
        inner = await self.join(group, topics, membership, start)
        return LineSubscription(self, group, inner)

    async def join(
        self, group: str, topics: frozenset[str], membership: Membership | None, start: Start
    ) -> MemorySubscription:
        broker, joined = self.broker, self.broker.group(group)
        guarded = None if membership is None else _Guarded(membership, self.program, broker.seen)
        member = MemorySubscription(broker, joined, guarded, start)
        member.expelled = False
        self.program.on_kill.append(lambda: _vanish(joined, member))
        self.members.append((joined, member))
        joined.topics = topics
        joined.members.append(member)
        await joined.rebalance(broker.places(topics))
        return member

    async def append(self, records: Sequence[OutgoingRecord]) -> list[Ack]:
        """Raises AppendFailed."""
        program = self.program
        await program.cross(f"append {len(records)}")
        if self.broker.faults.away:
            raise AppendFailed("the log is away")
        acks, cut = [], len(records)
        failed = bool(self.cuts)
        if failed:
            cut = round(self.cuts.pop(0) * len(records))
        for record in records[:cut]:
            if acks and self.random.random() < 0.02:
                # The parts of an append that are for different brokers do not arrive together.
                self.broker.seen["network append in parts"] += 1
                await program.cross("append, between")
            acks.append(self.broker.put_from(record, program))
        if failed:
            self.broker.seen["append cut" if cut < len(records) else "append stored, ack lost"] += 1
            raise AppendFailed(f"{cut} of {len(records)} records were stored")
        await program.cross("append, acknowledged")
        return acks


def _vanish(group: SimulatedGroup, member: MemorySubscription) -> None:
    if member in group.members:
        member.vanish()


class _Guarded:
    """A membership in another program: a member that is dead or does not answer holds a rebalance up only so long."""

    def __init__(self, inner: Membership, program: Program, seen: Counter[str]) -> None:
        self._inner = inner
        self._program = program
        self._seen = seen

    def assigned(self, places: frozenset[Place]) -> None:
        if self._program.alive:
            self._program.run(lambda: self._inner.assigned(places))

    async def revoked(self, places: frozenset[Place]) -> None:
        if self._program.alive:
            if not self._program.at.startswith(BETWEEN_BATCHES):
                self._seen[f"revoked at {self._program.at.partition(' ')[0]}"] += 1
            await asyncio.wait((self._program.spawn(self._inner.revoked(places)),), timeout=REVOKE_LIMIT_S)


class Appender:
    def __init__(self, line: Line) -> None:
        self._line = line

    async def append(self, records: Sequence[OutgoingRecord]) -> Sequence[Ack]:
        return await self._line.append(records)

    async def close(self) -> None:
        """Nothing to give up."""


class LineReader(MemoryReader):
    """A MemoryReader, seen over the network: a few records a time."""

    BATCH = 3

    def __init__(self, broker: Broker, program: Program) -> None:
        super().__init__(broker)
        self._program = program

    async def bounds(self, place: Place) -> tuple[int, int]:
        await self._program.cross("snapshots?")
        return await super().bounds(place)

    async def read(self, place: Place, start: int, end: int) -> AsyncIterator[Sequence[IncomingRecord]]:
        async for batch in super().read(place, start, end):
            await self._program.cross("snapshots, read")
            yield batch


class LineSubscription(Subscription):
    """A MemorySubscription, seen over the network. Partitions arrive at different times, and in pieces."""

    def __init__(self, line: Line, group: str, inner: MemorySubscription) -> None:
        self.inner = inner
        self._line = line
        self._group = group
        self._held: dict[Place, float] = {}

    async def poll(self, timeout_ms: int) -> Mapping[Place, Sequence[IncomingRecord]]:
        loop = asyncio.get_running_loop()
        await self._line.program.cross("poll")
        ends_s = loop.time() + timeout_ms / 1000
        while True:
            found = self._arrived(await self.inner.poll(0))
            left_s = ends_s - loop.time()
            if found or left_s <= 0:
                return found
            soonest_s = min([left_s, *(at_s - loop.time() for at_s in self._held.values())])
            await self.inner._log._wait_for_arrival(max(1, round(soonest_s * 1000)))
            await self._line.program.cross("poll again")

    def _arrived(self, polled: Mapping[Place, Sequence[IncomingRecord]]) -> dict[Place, Sequence[IncomingRecord]]:
        found: dict[Place, Sequence[IncomingRecord]] = {}
        random, now_s = self._line.random, asyncio.get_running_loop().time()
        for place, records in polled.items():
            kept = len(records)
            if place in self._held and self._held[place] > now_s:
                kept = 0
            else:
                self._held.pop(place, None)
                drawn = random.random()
                if drawn < 0.08:
                    kept, self._held[place] = 0, now_s + HOLD_S * random.random()
                    self._line.broker.seen["network held back"] += 1
                elif drawn < 0.25:
                    kept = random.randint(1, len(records))
            if kept < len(records):
                self.inner._positions[place] = records[kept].offset
                self._line.broker.seen["network in pieces"] += kept > 0
            if kept:
                found[place] = records[:kept]
        return found

    def seek(self, place: Place, offset: int) -> None:
        self.inner.seek(place, offset)

    def pause(self, places: frozenset[Place]) -> None:
        self.inner.pause(places)

    def resume(self, places: frozenset[Place]) -> None:
        self.inner.resume(places)

    async def commit(self, offsets: Mapping[Place, int]) -> bool:
        await self._line.program.cross("commit")
        done = await self.inner.commit(offsets)
        if done:
            self._line.broker.on_commit(self._group, offsets, self._line.program)
        await self._line.program.cross("commit, acknowledged")
        return done

    async def committed(self, places: frozenset[Place]) -> Mapping[Place, int | None]:
        await self._line.program.cross("committed?")
        return await self.inner.committed(places)

    async def bounds(self, places: frozenset[Place]) -> Mapping[Place, tuple[int, int]]:
        await self._line.program.cross("bounds?")
        self.check()
        return await self.inner.bounds(places)

    def check(self) -> None:
        if self._line.broker.faults.away:
            raise LogUnavailable("the log is away")

    def lag(self) -> int:
        return self.inner.lag()

    @property
    def problem(self) -> str | None:
        return self.inner.problem

    async def close(self) -> None:
        await self._line.program.cross("leave")
        group = self._line.broker.group(self._group)
        if self.inner in group.members:
            await self.inner.lose_all()
            group.members.remove(self.inner)
            await group.rebalance(self._line.broker.places(group.topics))
