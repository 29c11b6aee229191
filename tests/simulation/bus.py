"""The SDK's bus over the same broker: one topic is one topic, whoever writes and whoever reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.record import IncomingRecord, OutgoingRecord
from orchestrator.runtime.log import LogUnavailable
from orchestrator.runtime.log import Place as LogPlace
from services.sdk.failures import BusAwayError
from services.sdk.ports import Bounds, Listener, Place
from tests.simulation.broker import Line, LineSubscription

AGAIN_S = 0.3
"""Pause before an append that failed is sent again."""


class BusLine:
    """The `Bus` of one program."""

    def __init__(self, line: Line, partitions: Mapping[str, int]) -> None:
        self._line = line
        self._partitions = partitions

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        while True:
            try:
                await self._line.append(records)
            except LogUnavailable:
                await self._line.program.pause(AGAIN_S)
                continue
            return

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        await self._line.program.cross("topics?")
        return {topic: self._partitions[topic] for topic in topics if topic in self._partitions}

    def subscription(self, group: str, member: str, topics: Sequence[str]) -> BusSubscription:
        return BusSubscription(self._line, group, frozenset(topics))


class _Told:
    """The SDK's listener as the broker's membership."""

    def __init__(self, listener: Listener, owner: BusSubscription) -> None:
        self._listener = listener
        self._owner = owner

    def assigned(self, places: frozenset[LogPlace]) -> None:
        self._owner.assigned = frozenset(Place(*place) for place in places)
        self._listener.assigned(self._owner.assigned)

    async def revoked(self, places: frozenset[LogPlace]) -> None:
        await self._listener.revoked()
        self._owner.assigned = frozenset()


class BusSubscription:
    """The SDK's `Subscription` over a LineSubscription."""

    def __init__(self, line: Line, group: str, topics: frozenset[str]) -> None:
        self.assigned: frozenset[Place] = frozenset()
        self._line = line
        self._group = group
        self._topics = topics
        self._joined: LineSubscription | None = None

    @property
    def _inner(self) -> LineSubscription:
        if self._joined is None:
            raise BusAwayError("not joined yet")
        return self._joined

    async def start(self, listener: Listener) -> None:
        await self._line.program.cross(f"join {self._group}")
        told = _Told(listener, self)
        # The first assignment comes while joining: what it starts must find the subscription.
        waiting = _Joining(self, told)
        inner = await self._line.join(self._group, self._topics, waiting, "claimed")
        self._joined = LineSubscription(self._line, self._group, inner)
        waiting.joined()

    async def poll(self, wait_s: float) -> Sequence[IncomingRecord]:
        found = await self._inner.poll(round(wait_s * 1000))
        if self._line.broker.faults.away:
            raise BusAwayError("the log is away")
        return [record for records in found.values() for record in records]

    async def committed(self, places: frozenset[Place]) -> dict[Place, int]:
        try:
            found = await self._inner.committed(_theirs(places))
        except LogUnavailable as error:
            raise BusAwayError(str(error)) from error
        return {Place(*place): offset for place, offset in found.items() if offset is not None}

    async def bounds(self, places: frozenset[Place]) -> dict[Place, Bounds]:
        try:
            found = await self._inner.bounds(_theirs(places))
        except LogUnavailable as error:
            raise BusAwayError(str(error)) from error
        return {Place(*place): Bounds(*bounds) for place, bounds in found.items()}

    async def offsets_at(self, places: frozenset[Place], at_ms: int) -> dict[Place, int]:
        await self._line.program.cross("offsets?")
        found: dict[Place, int] = {}
        for place in places:
            records = self._line.broker._partitions[LogPlace(*place)].records
            later = (record.offset for record in records if record.timestamp_ms >= at_ms)
            found[place] = next(later, self._line.broker.bounds_of(LogPlace(*place))[1])
        return found

    def seek_and_resume(self, offsets: Mapping[Place, int]) -> None:
        ours = {place: offset for place, offset in offsets.items() if place in self.assigned}
        for place, offset in ours.items():
            self._inner.seek(LogPlace(*place), offset)
        self._inner.resume(_theirs(frozenset(ours)))

    def pause(self, places: frozenset[Place]) -> None:
        self._inner.pause(_theirs(places))

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        try:
            done = await self._inner.commit({LogPlace(*place): offset for place, offset in offsets.items()})
        except LogUnavailable as error:
            raise BusAwayError(str(error)) from error
        if not done:
            raise BusAwayError("a partition is not assigned to this member")

    def ends(self, places: frozenset[Place]) -> dict[Place, int]:
        return {place: self._line.broker.bounds_of(LogPlace(*place))[1] for place in places}

    async def close(self) -> None:
        if self._joined is not None:
            await self._joined.close()


class _Joining:
    """Keeps the newest assignment until the subscription is whole."""

    def __init__(self, owner: BusSubscription, told: _Told) -> None:
        self._owner = owner
        self._told = told
        self._early: frozenset[LogPlace] | None = None
        self._whole = False

    def joined(self) -> None:
        self._whole = True
        if self._early is not None:
            self.assigned(self._early)

    def assigned(self, places: frozenset[LogPlace]) -> None:
        if self._whole:
            self._told.assigned(places)
        else:
            self._early = places

    async def revoked(self, places: frozenset[LogPlace]) -> None:
        self._early = None
        if self._whole:
            await self._told.revoked(places)


def _theirs(places: frozenset[Place]) -> frozenset[LogPlace]:
    return frozenset(LogPlace(*place) for place in places)
