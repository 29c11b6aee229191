"""A member of a consumer group on Kafka: joins, pauses what it is assigned, reconnects by itself.

What is known about aiokafka 0.14 and handled here: `on_partitions_assigned` runs when fetching has begun already, so
pausing is its first statement; a paused partition without a position holds up the fetches of its whole broker, so every
partition is given one at once; `close` and errors do not announce a revocation, so this class does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from contracts.record import IncomingRecord
from contracts.topics import INBOX_BYTES_MAX
from operations.fetch_sessions_kafka import keep_fetch_sessions
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.log import LogUnavailable, Membership, Place, PositionLost, Start

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

POLL_RECORDS_MAX = 5_000
"""One batch of the loops at most, so that a long replay keeps its memory and its heartbeats."""
REQUEST_LIMIT_S = 10.0
REVOKE_LIMIT_S = 20.0
"""How long a rebalance waits for the owner's last checkpoint; less than the rebalance time limit."""
REBALANCE_LIMIT_MS = 60_000
SESSION_LIMIT_MS = 10_000
POLL_INTERVAL_MAX_MS = 3_600_000
"""A loop that waits for Redis does not poll. It is alive all the same (heartbeats come from the same event loop), and
nobody else could work without Redis either."""
FETCH_WAIT_MS = 250
FETCH_BYTES_MAX = 16 * 1024 * 1024
STOP_LIMIT_S = 5.0


class KafkaSubscription:
    """A `Subscription`; `open` starts to connect in the background."""

    def __init__(
        self,
        servers: str,
        group: str,
        topics: frozenset[str],
        membership: Membership | None,
        start: Start,
        instance: str,
    ) -> None:
        self._servers = servers
        self._group = group
        self._topics = topics
        self._membership = membership
        self._start: Start = start
        self._instance = instance
        self._consumer: AIOKafkaConsumer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._problem: str | None = "not connected to Kafka yet"
        self._places: frozenset[Place] = frozenset()

    def open(self) -> None:
        self._connecting = asyncio.create_task(self._connect(), name=f"connect {self._group}")

    async def _connect(self) -> None:
        backoff = Backoff()
        while True:
            consumer = self._new_consumer()
            self._consumer = consumer
            consumer.subscribe(list(self._topics), listener=_Listener(self, consumer))
            try:
                await consumer.start()
            except (KafkaError, OSError) as error:
                self._problem = f"Kafka is away: {type(error).__name__}: {error}"
                log.warning("cannot join", group=self._group, error=repr(error))
                self._consumer = None
                await _stop(consumer)
                await asyncio.sleep(backoff.next_s())
            except asyncio.CancelledError:
                self._consumer = None
                await _stop(consumer)
                raise
            else:
                self._problem = None
                return

    def _new_consumer(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=self._group,
            group_instance_id=f"{self._instance}.{self._group}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=SESSION_LIMIT_MS,
            heartbeat_interval_ms=SESSION_LIMIT_MS // 3,
            rebalance_timeout_ms=REBALANCE_LIMIT_MS,
            max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
            request_timeout_ms=int(REQUEST_LIMIT_S * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=INBOX_BYTES_MAX,
        )
        keep_fetch_sessions(consumer)
        return consumer

    # Membership, called by the listener.

    def on_assigned(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        if self._start == "claimed":
            consumer.pause(*partitions)
            for partition in partitions:
                consumer.seek(partition, 0)
        if consumer is not self._consumer:
            return
        self._places = frozenset(Place(*partition) for partition in partitions)
        if self._membership is not None:
            self._membership.assigned(self._places)

    async def on_revoked(self) -> None:
        places, self._places = self._places, frozenset()
        if places and self._membership is not None:
            try:
                await asyncio.wait_for(self._membership.revoked(places), REVOKE_LIMIT_S)
            except TimeoutError:
                log.warning("shards are given up without a last checkpoint", group=self._group)

    # The port.

    async def poll(self, timeout_ms: int) -> Mapping[Place, Sequence[IncomingRecord]]:
        consumer = await self._ready(timeout_ms)
        if consumer is None:
            return {}
        try:
            polled = await consumer.getmany(timeout_ms=timeout_ms, max_records=POLL_RECORDS_MAX)
        except OffsetOutOfRangeError as error:
            raise PositionLost(frozenset(Place(*partition) for partition in error.args[0])) from error
        except NoOffsetForPartitionError:
            await self._begin_at_log_start()
            return {}
        except KafkaError as error:
            await self._reconnect(error)
            return {}
        return {
            Place(*partition): [
                IncomingRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records
            ]
            for partition, records in polled.items()
        }

    async def _begin_at_log_start(self) -> None:
        """A group without an offset begins where the log does. (The client could do that by itself, but then it would
        also pass over a lost position in silence.)"""
        if self._start != "committed":
            return
        try:
            offsets = await self.committed(self._places)
            new = frozenset(place for place, offset in offsets.items() if offset is None)
            bounds = await self.bounds(new)
        except LogUnavailable as error:
            log.warning("the group's start waits for Kafka", group=self._group, error=str(error))
            return
        for place, (start, _) in bounds.items():
            self.seek(place, start)

    async def _ready(self, timeout_ms: int) -> AIOKafkaConsumer | None:
        if self._connecting is None:
            return None
        if not self._connecting.done():
            await asyncio.wait((self._connecting,), timeout=timeout_ms / 1000)
            if not self._connecting.done():
                return None
        self._connecting.result()
        return self._consumer

    async def _reconnect(self, error: Exception) -> None:
        self._problem = f"Kafka is away: {type(error).__name__}: {error}"
        log.warning("joins anew", group=self._group, error=repr(error))
        consumer, self._consumer = self._consumer, None
        await self.on_revoked()
        if consumer is not None:
            await _stop(consumer)
        self.open()

    def seek(self, place: Place, offset: int) -> None:
        if self._consumer is not None and place in self._places:
            self._consumer.seek(TopicPartition(*place), offset)

    def pause(self, places: frozenset[Place]) -> None:
        if self._consumer is not None:
            self._consumer.pause(*(TopicPartition(*place) for place in places & self._places))

    def resume(self, places: frozenset[Place]) -> None:
        if self._consumer is not None:
            self._consumer.resume(*(TopicPartition(*place) for place in places & self._places))

    async def commit(self, offsets: Mapping[Place, int]) -> bool:
        consumer = self._connected()
        try:
            await self._bounded(consumer.commit({TopicPartition(*place): at for place, at in offsets.items()}))
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def committed(self, places: frozenset[Place]) -> Mapping[Place, int | None]:
        consumer, ordered = self._connected(), sorted(places)
        calls = (consumer.committed(TopicPartition(*place)) for place in ordered)
        return dict(zip(ordered, await self._bounded(_gather(calls)), strict=True))

    async def bounds(self, places: frozenset[Place]) -> Mapping[Place, tuple[int, int]]:
        consumer = self._connected()
        partitions = [TopicPartition(*place) for place in places]
        starts = await self._bounded(consumer.beginning_offsets(partitions))
        ends = await self._bounded(consumer.end_offsets(partitions))
        return {Place(*partition): (starts[partition], ends[partition]) for partition in partitions}

    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise LogUnavailable(self._problem or "not connected")
        return self._consumer

    async def _bounded(self, call: Coroutine[Any, Any, Result]) -> Result:
        """aiokafka repeats these calls for ever while the broker is away."""
        try:
            return await asyncio.wait_for(call, REQUEST_LIMIT_S)
        except (CommitFailedError, IllegalStateError):
            raise
        except (KafkaError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"{type(error).__name__}: {error}") from error

    def lag(self) -> int:
        consumer, total = self._consumer, 0
        if consumer is None:
            return 0
        states = consumer._subscription.subscription
        if states is None or states.assignment is None:
            return 0
        for place in self._places:
            state = states.assignment.state_value(TopicPartition(*place))
            if state is not None and state.has_valid_position and state.highwater is not None:
                total += max(state.highwater - state.position, 0)
        return total

    @property
    def problem(self) -> str | None:
        return self._problem

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
            self._connecting = None
        await self.on_revoked()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka only logs what is raised here, so nothing is left to it."""

    def __init__(self, subscription: KafkaSubscription, consumer: AIOKafkaConsumer) -> None:
        self._subscription = subscription
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            self._subscription.on_assigned(self._consumer, tuple(assigned))
        except Exception:
            log.exception("an assignment was not taken in")
            asyncio.get_running_loop().call_exception_handler({"message": "an assignment was not taken in"})

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            await self._subscription.on_revoked()
        except Exception:
            log.exception("a revocation was not orderly: the shards are folded again by their next owner")


async def _gather(calls: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    return list(await asyncio.gather(*calls))


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        await asyncio.wait_for(consumer.stop(), STOP_LIMIT_S)
    except Exception as error:  # noqa: BLE001 - nothing depends on the end of what was given up
        log.warning("a consumer did not stop cleanly", error=repr(error))
