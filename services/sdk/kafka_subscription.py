"""The bus on Kafka, reading side: one static member of a service's consumer group.

aiokafka 0.14: `on_partitions_assigned` runs while fetching is unblocked already, so `pause` is its first statement;
exceptions in these callbacks are only logged by the client; rebalances are eager. After an error that is not about an
offset the consumer is thrown away and a new one joins: as a static member it gets the same partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from contracts.record import IncomingRecord
from operations.fetch_sessions_kafka import keep_fetch_sessions
from services.sdk.failures import BusAwayError
from services.sdk.ports import Bounds, Listener, Place

SESSION_MS = 30_000
"""A member not heard of for so long loses its partitions; a restart within it gets them back without a rebalance."""
HEARTBEAT_MS = 3_000
REBALANCE_MS = 60_000
"""Above the longest drain."""
POLL_INTERVAL_MAX_MS = 24 * 60 * 60 * 1000
"""A store that is away must be waited out without being thrown out of the group."""
FETCH_BYTES_MAX = 2 * 1024 * 1024
"""A fetch's limit for one partition."""
CLOSE_LIMIT_S = 10.0
CALL_LIMIT_S = 10.0

log = structlog.get_logger("services.sdk")
T = TypeVar("T")


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, servers: str, client_id: str, group: str, member: str, topics: Sequence[str]) -> None:
        self._servers = servers
        self._client_id = client_id
        self._group = group
        self._member = member
        self._topics = tuple(topics)
        self._consumer: AIOKafkaConsumer | None = None
        self._listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        self._listener = listener
        await self._join()

    async def _join(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            client_id=self._client_id,
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="none",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
        )
        keep_fetch_sessions(consumer)
        consumer.subscribe(self._topics, listener=self)
        self._consumer = consumer
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await self._part()
            raise BusAwayError(f"Kafka: {error!r}") from error

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        del revoked  # eager: all of them
        assert self._listener is not None, "the listener is known before the group is joined"
        try:
            await self._listener.revoked()
        except Exception:
            log.exception("cannot give partitions back", group=self._group)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assert self._consumer is not None and self._listener is not None, "assigned before the group is joined"
        partitions = list(assigned)
        self._consumer.pause(*partitions)
        self._listener.assigned(frozenset(Place(p.topic, p.partition) for p in partitions))

    async def poll(self, wait_s: float) -> Sequence[IncomingRecord]:
        if self._consumer is None:
            await self._join()
        assert self._consumer is not None, "joined"
        try:
            fetched = await self._consumer.getmany(timeout_ms=int(wait_s * 1000))
        except NoOffsetForPartitionError:
            # Said of a partition that is assigned and not claimed yet: the claim seeks.
            await asyncio.sleep(min(wait_s, 0.05))
            return []
        except OffsetOutOfRangeError as error:
            # The log was cut while we stood still. Joining again claims anew, within the log's bounds.
            log.error("position out of the log's range", group=self._group, detail=repr(error))
            await self._rejoin()
            return []
        except (KafkaError, IllegalStateError, OSError) as error:
            await self._rejoin()
            raise BusAwayError(f"Kafka: {error!r}") from error
        return [_incoming(record) for records in fetched.values() for record in records]

    async def committed(self, places: frozenset[Place]) -> dict[Place, int]:
        consumer = self._joined()
        found: dict[Place, int] = {}
        for place in places:
            offset = await _answered(consumer.committed(_partition(place)))
            if offset is not None:
                found[place] = offset
        return found

    async def bounds(self, places: frozenset[Place]) -> dict[Place, Bounds]:
        consumer = self._joined()
        partitions = [_partition(place) for place in places]
        starts = await _answered(consumer.beginning_offsets(partitions))
        ends = await _answered(consumer.end_offsets(partitions))
        return {_place(partition): Bounds(starts[partition], ends[partition]) for partition in partitions}

    async def offsets_at(self, places: frozenset[Place], at_ms: int) -> dict[Place, int]:
        consumer = self._joined()
        wanted = {_partition(place): max(0, at_ms) for place in places}
        found = await _answered(consumer.offsets_for_times(wanted))
        ends = await _answered(consumer.end_offsets(list(wanted)))
        return {
            _place(partition): ends[partition] if found.get(partition) is None else found[partition].offset
            for partition in wanted
        }

    def seek_and_resume(self, offsets: Mapping[Place, int]) -> None:
        consumer = self._joined()
        ours = consumer.assignment()
        for place, offset in offsets.items():
            partition = _partition(place)
            if partition in ours:
                consumer.seek(partition, offset)
                consumer.resume(partition)

    def pause(self, places: frozenset[Place]) -> None:
        if self._consumer is not None:
            ours = self._consumer.assignment()
            self._consumer.pause(*(partition for place in places if (partition := _partition(place)) in ours))

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        consumer = self._joined()
        await _answered(consumer.commit({_partition(place): offset for place, offset in offsets.items()}))

    def ends(self, places: frozenset[Place]) -> dict[Place, int]:
        if self._consumer is None:
            return {}
        ours = self._consumer.assignment()
        marks = {
            place: self._consumer.highwater(partition) for place in places if (partition := _partition(place)) in ours
        }
        return {place: mark for place, mark in marks.items() if mark is not None}

    async def close(self) -> None:
        await self._part()

    async def _rejoin(self) -> None:
        assert self._listener is not None, "polled before the group is joined"
        await self._part()
        await self._listener.revoked()

    async def _part(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await consumer.stop()
        except (TimeoutError, KafkaError, OSError) as error:
            log.warning("consumer cut off", group=self._group, detail=repr(error))

    def _joined(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise BusAwayError("not a member of the group")
        return self._consumer


async def _answered(call: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            return await call
    except TimeoutError as error:
        raise BusAwayError("Kafka does not answer") from error
    except (KafkaError, IllegalStateError, OSError) as error:
        raise BusAwayError(f"Kafka: {error!r}") from error


def _partition(place: Place) -> TopicPartition:
    return TopicPartition(place.topic, place.partition)


def _place(partition: TopicPartition) -> Place:
    return Place(partition.topic, partition.partition)


def _incoming(record: ConsumerRecord) -> IncomingRecord:
    return IncomingRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.headers,
    )
