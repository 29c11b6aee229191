"""What the runner needs from the outside: an inbox (dedupe store) and a bus. Each has a memory and a real adapter,
and both adapters pass one suite (`tests/conformance`)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

from contracts.record import IncomingRecord, OutgoingRecord


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Found(StrEnum):
    """What the inbox held under an id when it was claimed."""

    NEW = "n"
    """Nothing. Our started mark is there now."""
    UNFINISHED = "u"
    """Another execution's started mark, or a replayed dead letter. Ours replaced it."""
    SETTLED = "s"
    """Stored outcomes: publish them again."""
    REFUSED = "f"
    """Nothing, and the claim's refusal is now its stored outcome."""
    REVOKED = "r"
    """An undo came first: answer, execute nothing."""
    CONFLICT = "c"
    """The id of a message with another type or payload."""


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Asks to execute a message. `fence` is unique to this execution."""

    place: Place
    identity: str
    fingerprint: str
    fence: str
    refusal: bytes | None = None
    """If the id has no mark: store this as its outcome instead of a started mark."""
    revokes: tuple[str, ...] = ()
    """Ids that get a revoked record if they have none, in the same step as the started mark."""
    replayed: bool = False
    """From `<service>.replays`: may execute what was dead-lettered."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`fence` is the mark's fence as it is now: what a settlement must name. `outcomes` only if SETTLED."""

    found: Found
    fence: str
    outcomes: bytes = b""


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """Stores the outcomes of an execution, if the mark still has its fence."""

    place: Place
    offset: int
    identity: str
    fingerprint: str
    fence: str
    outcomes: bytes
    dead: bool = False
    """A dead-lettered event: a replay may execute it."""


class Exchange(msgspec.Struct, frozen=True, gc=False):
    """One atomic step of the inbox. Settlements come first, then claims, each in order.

    `number` counts the steps of one session from 1. `positions`: for each partition touched, the next offset as this
    session last wrote it, and as it is to be.
    """

    number: int
    positions: Mapping[Place, tuple[int, int]] = MappingProxyType({})
    settlements: tuple[Settlement, ...] = ()
    claims: tuple[Claim, ...] = ()


class Reply(msgspec.Struct, frozen=True, gc=False):
    """`stored[i]`: the i-th settlement's fence was still there, so its outcomes are stored."""

    stored: tuple[bool, ...]
    answers: tuple[Answer, ...]


class Inbox(Protocol):
    """The dedupe store of one service: marks, outcomes and positions. Records expire after the retention."""

    async def check(self) -> Sequence[str]:
        """Settings that would lose data. Returns warnings of what could not be checked.

        Raises:
            StartRefused: a setting is wrong. StoreAwayError: not reachable.
        """
        ...

    async def positions(self) -> dict[Place, int]:
        """The stored next offset of every partition ever claimed; empty for an empty store. Raises StoreAwayError."""
        ...

    async def take(self, owner: str, session: str, positions: Mapping[Place, int]) -> None:
        """Make `session` the owner of these partitions, at these offsets. Whoever wrote them before is refused from
        now on (StoreMovedError). Repeating it is harmless. Raises StoreAwayError."""
        ...

    async def exchange(self, owner: str, session: str, exchange: Exchange) -> Reply:
        """Apply one step whole or not at all. Repeating the newest step gives the same reply.

        Raises:
            StoreMovedError: the session's last number, or a position, is not as the session left it. Nothing written.
            StoreAwayError: not reachable; whether the step was applied is not known: repeat it.
        """
        ...


class Listener(Protocol):
    """Told of partitions that come and go. Never raises."""

    async def revoked(self) -> None:
        """All partitions go. Nobody else gets them before this returns, within the rebalance time-out."""
        ...

    def assigned(self, places: frozenset[Place]) -> None:
        """These are all partitions now, paused. Must not block: claim them in a task, then seek and resume."""
        ...


class Bounds(NamedTuple):
    """Offset of the first record kept, and of the next record to come."""

    start: int
    end: int


class Subscription(Protocol):
    """One member of a consumer group. Offsets are committed by hand only. Every method may raise BusAwayError."""

    async def start(self, listener: Listener) -> None: ...

    async def poll(self, wait_s: float) -> Sequence[IncomingRecord]:
        """Records of resumed partitions, each partition in order; empty after `wait_s` seconds without any."""
        ...

    async def committed(self, places: frozenset[Place]) -> dict[Place, int]:
        """The group's committed next offsets; a partition without one is left out."""
        ...

    async def bounds(self, places: frozenset[Place]) -> dict[Place, Bounds]: ...

    async def offsets_at(self, places: frozenset[Place], at_ms: int) -> dict[Place, int]:
        """The first offset appended at or after `at_ms`; the end if there is none."""
        ...

    def seek_and_resume(self, offsets: Mapping[Place, int]) -> None:
        """Partitions that are not ours any more are ignored."""
        ...

    def pause(self, places: frozenset[Place]) -> None: ...

    async def commit(self, offsets: Mapping[Place, int]) -> None: ...

    def ends(self, places: frozenset[Place]) -> dict[Place, int]:
        """The newest known end of each partition, without asking the broker; unknown ones are left out."""
        ...

    async def close(self) -> None:
        """Stop reading. A static member does not leave its group, unless its bus was told so: a restart gets its
        partitions back."""
        ...


class Bus(Protocol):
    """Where records are published."""

    def publish(self, records: Sequence[OutgoingRecord]) -> Awaitable[None]:
        """Returns once the broker has acknowledged all of them; until then it goes on trying, so a record may be
        there twice. Records given in one call with one key stay in order. Cancelling gives up waiting, not sending."""
        ...

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """The partition counts of those topics that exist. Raises BusAwayError."""
        ...

    def subscription(self, group: str, member: str, topics: Sequence[str]) -> Subscription: ...
