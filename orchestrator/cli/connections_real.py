"""The real connections: Kafka and the orchestrator's Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from operations.endpoints import Endpoints
from orchestrator.cli.inbox_kafka import KafkaRetained, open_retained
from orchestrator.cli.letters_kafka import KafkaLetterBox, open_letters
from orchestrator.cli.ports import AuditAccess, OperatorInbox, ProcessReader, Sender, ShardKeeper, TopicKeeper
from orchestrator.cli.sender_kafka import AWAY_ERRORS, KafkaSender, open_sender
from orchestrator.cli.shards_real import open_shards
from orchestrator.runtime.audit_log_kafka import open_audit_log
from orchestrator.runtime.audit_marks_redis import open_marks
from orchestrator.runtime.audit_redis import RedisAuditStore
from orchestrator.runtime.inbox_writer import PersonsMessage, Stamp, input_record
from orchestrator.runtime.log import LogUnavailable
from orchestrator.runtime.readmodel import ReadModel
from orchestrator.runtime.store import StoreUnavailable
from orchestrator.runtime.store_redis import RedisStore
from orchestrator.runtime.topics_kafka import KafkaTopics

AWAY = (*AWAY_ERRORS, LogUnavailable, StoreUnavailable, OSError, TimeoutError)


class RealConnections:
    def processes(self, endpoints: Endpoints) -> AbstractAsyncContextManager[ProcessReader]:
        return _read_model(endpoints.redis.orchestrator)

    def inbox(self, endpoints: Endpoints) -> AbstractAsyncContextManager[OperatorInbox]:
        return _inbox(endpoints.kafka)

    def sender(self, endpoints: Endpoints) -> AbstractAsyncContextManager[KafkaSender]:
        return open_sender(endpoints.kafka)

    def letters(self, endpoints: Endpoints) -> AbstractAsyncContextManager[KafkaLetterBox]:
        return open_letters(endpoints.kafka)

    def retained(self, endpoints: Endpoints) -> AbstractAsyncContextManager[KafkaRetained]:
        return open_retained(endpoints.kafka)

    def shards(self, endpoints: Endpoints) -> AbstractAsyncContextManager[ShardKeeper]:
        return open_shards(endpoints)

    def topics(self, endpoints: Endpoints) -> AbstractAsyncContextManager[TopicKeeper]:
        return KafkaTopics(endpoints.kafka)

    def audit(self, endpoints: Endpoints) -> AbstractAsyncContextManager[AuditAccess]:
        return _audit(endpoints)

    def means_away(self, error: Exception) -> bool:
        return isinstance(error, AWAY)


class _Inbox:
    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def append(self, message: PersonsMessage, message_id: str, stamp: Stamp | None = None) -> None:
        await self._sender.send((input_record(message, message_id, stamp),))


@asynccontextmanager
async def _inbox(kafka: str) -> AsyncIterator[OperatorInbox]:
    async with open_sender(kafka) as sender:
        yield _Inbox(sender)


@asynccontextmanager
async def _read_model(url: str) -> AsyncIterator[ProcessReader]:
    store = RedisStore(url)
    try:
        yield ReadModel(store)
    finally:
        await store.close()


@asynccontextmanager
async def _audit(endpoints: Endpoints) -> AsyncIterator[AuditAccess]:
    store = RedisStore(endpoints.redis.orchestrator)
    try:
        async with open_audit_log(endpoints.kafka) as log, open_marks(endpoints.redis.services) as marks:
            yield AuditAccess(RedisAuditStore(store), store, log, marks)
    finally:
        await store.close()
