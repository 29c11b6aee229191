"""What commands need of the outside. Adapters: `connections_real.py`, and `connections_memory.py` for tests.

Every method may raise OSError, TimeoutError, or its driver's own error: then the stack is away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import TopicSpec
from operations.endpoints import Endpoints
from orchestrator.engine.history import HistoryEntry
from orchestrator.engine.process import Process
from orchestrator.runtime.audit_log import AuditLog
from orchestrator.runtime.audit_marks import MarkStore
from orchestrator.runtime.audit_store import AuditStore
from orchestrator.runtime.inbox_writer import PersonsMessage, Stamp
from orchestrator.runtime.ownership import RefusedShard
from orchestrator.runtime.readmodel import Query, VersionKey
from orchestrator.runtime.recovery import Damage, Order
from orchestrator.runtime.store import ShardStore
from orchestrator.runtime.topics_kafka import TopicsReport


class ProcessReader(Protocol):
    """What is asked of the read model (`orchestrator.runtime.readmodel`)."""

    async def get(self, process_id: str) -> Process | None: ...

    async def find(self, query: Query) -> Sequence[Process]:
        """The latest updated first."""
        ...

    async def history(self, process_id: str, start: int) -> Sequence[HistoryEntry]:
        """All entries from number `start` on, oldest first."""
        ...

    async def versions(self, sagas: Sequence[str] | None = None) -> Mapping[VersionKey, int]:
        """How many processes are kept, by saga, version and phase."""
        ...

    def unfinished(self, saga: str, version: int) -> AsyncIterator[Sequence[Process]]:
        """All processes of that version that have not ended, page by page."""
        ...

    async def refused_shards(self) -> Sequence[RefusedShard]:
        """Shards that do no work until a person has acted."""
        ...


class OperatorInbox(Protocol):
    """The only way by which the command line changes a process."""

    async def append(self, message: PersonsMessage, message_id: str, stamp: Stamp | None = None) -> None:
        """Returns once the message is in the log, as `message_id`."""
        ...


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a published record is, and the broker's append time in milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Sender(Protocol):
    async def send(self, records: Sequence[OutgoingRecord]) -> Sequence[Appended]:
        """Returns once all are acknowledged, in order of `records`.

        Raises:
            Refused: the broker will not take one of them.
        """
        ...


class LetterBox(Protocol):
    """All dead-letter topics. Reading leaves no trace: no consumer group, no commit."""

    async def newest(self, per_partition: int) -> Sequence[IncomingRecord]:
        """The last `per_partition` records of every partition of every dead-letter topic, in no order."""
        ...

    async def one(self, topic: str, partition: int, offset: int) -> IncomingRecord | None:
        """None: there is no such record (any more)."""
        ...


class RetainedInbox(Protocol):
    """The inbox from its start to where it ended when it was opened. Reading leaves no trace."""

    def size(self) -> int:
        """Records, at most."""
        ...

    def batches(self) -> AsyncIterator[Sequence[IncomingRecord]]:
        """All records, in no order across partitions."""
        ...


class TopicKeeper(Protocol):
    async def apply(self, specs: Sequence[TopicSpec], *, dry_run: bool) -> TopicsReport:
        """Create what is missing (not in a dry run), check the rest, and change nothing that exists."""
        ...


class ShardKeeper(Protocol):
    async def damages(self, shards: Sequence[int]) -> Sequence[Damage]:
        """Of those of the shards that would refuse to work."""
        ...

    async def order(self, orders: Sequence[Order]) -> None:
        """Leave orders for the engines that own the shards."""
        ...

    async def unfinished(self, shards: Sequence[int]) -> Mapping[int, str]:
        """Those of the shards that are not at work again, and why."""
        ...


@dataclass(frozen=True, slots=True)
class AuditAccess:
    """What an audit reads."""

    store: AuditStore
    shards: ShardStore
    log: AuditLog
    marks: MarkStore


class Connections(Protocol):
    """Opens what a command needs; each is closed at the end of its `async with`."""

    def processes(self, endpoints: Endpoints) -> AbstractAsyncContextManager[ProcessReader]: ...
    def inbox(self, endpoints: Endpoints) -> AbstractAsyncContextManager[OperatorInbox]: ...
    def sender(self, endpoints: Endpoints) -> AbstractAsyncContextManager[Sender]: ...
    def letters(self, endpoints: Endpoints) -> AbstractAsyncContextManager[LetterBox]: ...
    def retained(self, endpoints: Endpoints) -> AbstractAsyncContextManager[RetainedInbox]: ...
    def shards(self, endpoints: Endpoints) -> AbstractAsyncContextManager[ShardKeeper]: ...
    def topics(self, endpoints: Endpoints) -> AbstractAsyncContextManager[TopicKeeper]: ...
    def audit(self, endpoints: Endpoints) -> AbstractAsyncContextManager[AuditAccess]: ...

    def means_away(self, error: Exception) -> bool:
        """Whether this error says that the stack cannot be reached (and is not a fault of ours)."""
        ...
