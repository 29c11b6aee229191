"""Everything that commands need, in memory: for tests, and for trying the command line without a stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from contracts.ids import partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import DOMAIN_PARTITIONS, INBOX, SHARDS, TopicSpec
from operations.endpoints import Endpoints
from orchestrator.cli.ports import Appended, AuditAccess, ShardKeeper
from orchestrator.engine.history import HistoryEntry
from orchestrator.engine.process import Process
from orchestrator.runtime.audit_log_memory import MemoryAuditLog
from orchestrator.runtime.audit_marks_memory import MemoryMarks
from orchestrator.runtime.audit_memory import MemoryAuditStore
from orchestrator.runtime.inbox_writer import PersonsMessage, Stamp
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.ownership import RefusedShard
from orchestrator.runtime.readmodel import UNFINISHED, Query, VersionKey
from orchestrator.runtime.store_memory import MemoryStore
from orchestrator.runtime.topics_kafka import TopicsReport

OnAction = Callable[[Any, str], Awaitable[None]]
"""Takes any message of a person."""


@dataclass(slots=True)
class MemoryConnections:
    """One object plays all parts. `on_action` is what the orchestrator makes of an operator's action."""

    states: dict[str, Process] = field(default_factory=dict)
    histories: dict[str, list[HistoryEntry]] = field(default_factory=dict)
    actions: list[tuple[PersonsMessage, str]] = field(default_factory=list)
    stamps: list[Stamp | None] = field(default_factory=list)
    """Of the actions, in their order."""
    on_action: OnAction | None = None
    sent: list[OutgoingRecord] = field(default_factory=list)
    dead: list[IncomingRecord] = field(default_factory=list)
    inputs: list[IncomingRecord] = field(default_factory=list)
    """The retained inbox."""
    existing: set[str] = field(default_factory=set)
    problems: tuple[str, ...] = ()
    refused: tuple[RefusedShard, ...] = ()
    keeper: ShardKeeper | None = None
    failure: Exception | None = None
    """Raised by every connection: the stack is away."""
    appended_at_ms: int = 0
    store: MemoryStore = field(default_factory=MemoryStore)
    """What an audit reads, and the log beside it."""
    log: MemoryLog = field(default_factory=lambda: MemoryLog({INBOX: SHARDS}, lambda: 0))

    # Connections: all of them are this object.

    def processes(self, endpoints: Endpoints) -> AbstractAsyncContextManager[MemoryConnections]:
        return self._open()

    def inbox(self, endpoints: Endpoints) -> AbstractAsyncContextManager[MemoryConnections]:
        return self._open()

    def sender(self, endpoints: Endpoints) -> AbstractAsyncContextManager[MemoryConnections]:
        return self._open()

    def letters(self, endpoints: Endpoints) -> AbstractAsyncContextManager[MemoryConnections]:
        return self._open()

    def retained(self, endpoints: Endpoints) -> AbstractAsyncContextManager[MemoryConnections]:
        return self._open()

    @asynccontextmanager
    async def shards(self, endpoints: Endpoints) -> AsyncIterator[ShardKeeper]:
        if self.failure is not None:
            raise self.failure
        assert self.keeper is not None, "a test gives one"
        yield self.keeper

    def topics(self, endpoints: Endpoints) -> AbstractAsyncContextManager[MemoryConnections]:
        return self._open()

    @asynccontextmanager
    async def audit(self, endpoints: Endpoints) -> AsyncIterator[AuditAccess]:
        if self.failure is not None:
            raise self.failure
        yield AuditAccess(MemoryAuditStore(self.store), self.store, MemoryAuditLog(self.log), MemoryMarks())

    def means_away(self, error: Exception) -> bool:
        return isinstance(error, OSError)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[MemoryConnections]:
        if self.failure is not None:
            raise self.failure
        yield self

    # ProcessReader.

    async def get(self, process_id: str) -> Process | None:
        return self.states.get(process_id)

    async def find(self, query: Query) -> Sequence[Process]:
        found = [
            process
            for process in self.states.values()
            if query.saga in (None, process.saga)
            and query.phase in (None, process.phase)
            and (query.unchanged_since_ms is None or process.updated_at_ms <= query.unchanged_since_ms)
        ]
        return sorted(found, key=lambda process: -process.updated_at_ms)[: query.limit]

    async def history(self, process_id: str, start: int) -> Sequence[HistoryEntry]:
        return self.histories.get(process_id, [])[start:]

    async def versions(self, sagas: Sequence[str] | None = None) -> Mapping[VersionKey, int]:
        begun = [one for one in self.states.values() if one.phase != "early"]
        wanted = [one for one in begun if sagas is None or one.saga in sagas]
        return Counter(VersionKey(one.saga, one.version, one.phase) for one in wanted)

    async def unfinished(self, saga: str, version: int) -> AsyncIterator[Sequence[Process]]:
        yield [
            process
            for process in self.states.values()
            if (process.saga, process.version) == (saga, version) and process.phase in UNFINISHED
        ]

    async def refused_shards(self) -> Sequence[RefusedShard]:
        return self.refused

    # OperatorInbox.

    async def append(self, message: PersonsMessage, message_id: str, stamp: Stamp | None = None) -> None:
        self.actions.append((message, message_id))
        self.stamps.append(stamp)
        if self.on_action is not None:
            await self.on_action(message, message_id)

    # Sender.

    async def send(self, records: Sequence[OutgoingRecord]) -> Sequence[Appended]:
        first = len(self.sent)
        self.sent.extend(records)
        return [
            Appended(
                record.topic,
                partition_of((record.key or b"").decode(), DOMAIN_PARTITIONS),
                first + number,
                self.appended_at_ms,
            )
            for number, record in enumerate(records)
        ]

    # LetterBox.

    async def newest(self, per_partition: int) -> Sequence[IncomingRecord]:
        return self.dead

    async def one(self, topic: str, partition: int, offset: int) -> IncomingRecord | None:
        wanted = (topic, partition, offset)
        return next((one for one in self.dead if (one.topic, one.partition, one.offset) == wanted), None)

    # RetainedInbox.

    def size(self) -> int:
        return len(self.inputs)

    async def batches(self) -> AsyncIterator[Sequence[IncomingRecord]]:
        for one in self.inputs:
            yield [one]

    # TopicKeeper.

    async def apply(self, specs: Sequence[TopicSpec], *, dry_run: bool) -> TopicsReport:
        names = [spec.name for spec in specs]
        missing = tuple(name for name in names if name not in self.existing)
        unchanged = tuple(name for name in names if name in self.existing)
        if not dry_run:
            self.existing.update(missing)
        return TopicsReport(missing, unchanged, self.problems)
