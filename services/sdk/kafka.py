"""The bus on Kafka, publishing side: one producer for all services of an OS process, many messages a batch.

aiokafka's idempotent producer never expires a batch, and a failed batch poisons its partition. So every ack has a time
limit, and after any failure the producer is thrown away and what is not acknowledged goes out again by a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.ids import murmur2, partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX_BYTES_MAX
from services.sdk.batches_kafka import Batch, batches_of, not_stored, send_batches
from services.sdk.failures import BusAwayError
from services.sdk.kafka_subscription import KafkaSubscription
from services.sdk.surroundings import Surroundings, system_surroundings

ACK_LIMIT_S = 15.0
"""An acknowledgement later than this counts as a failure."""
STOP_LIMIT_S = 5.0
BATCH_BYTES = 256 * 1024
REQUEST_BYTES_MAX = INBOX_BYTES_MAX + 64 * 1024
"""Above the largest record of any topic, so that the broker's limit decides and not the client's."""
RECORDS_MAX = 2_000
"""Records sent before their acks are awaited."""
FIRST_PAUSE_S = 0.1
PAUSE_MAX_S = 5.0

log = structlog.get_logger("services.sdk")
Waiting = tuple[Sequence[OutgoingRecord], "asyncio.Future[None]"]


class KafkaBus:
    """`servers`: bootstrap list `host:port[,host:port]`. `leave_on_stop`: its members leave their groups
    when they close. `problem` is one line while Kafka does not take records."""

    def __init__(
        self, servers: str, client_id: str, around: Surroundings | None = None, *, leave_on_stop: bool = False
    ) -> None:
        self._servers = servers
        self._client_id = client_id
        self._leave_on_stop = leave_on_stop
        self._around = around or system_surroundings()
        self._producer: AIOKafkaProducer | None = None
        self._counts: dict[str, int] = {}
        self._keyless = 0
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._discards: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self.problem: str | None = None

    def publish(self, records: Sequence[OutgoingRecord]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return future

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        producer = await self._connected()
        try:
            await producer.client.force_metadata_update()
            known = await producer.client.fetch_all_metadata()
        except KafkaError as error:
            raise BusAwayError(f"Kafka: {error!r}") from error
        found = {topic: known.partitions_for_topic(topic) for topic in topics}
        return {topic: len(numbers) for topic, numbers in found.items() if numbers}

    def subscription(self, group: str, member: str, topics: Sequence[str]) -> KafkaSubscription:
        return KafkaSubscription(
            self._servers, self._client_id, group, member, topics, leave_on_stop=self._leave_on_stop
        )

    async def close(self) -> None:
        """What is not acknowledged by now is given up; its messages are not committed and come again."""
        tasks = [task for task in (self._task, *self._discards) if task is not None]
        if self._task is not None:
            self._task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._producer is not None:
            await _stopped(self._producer)
            self._producer = None

    async def _run(self) -> None:
        # One turn of the loop, so that all that became ready in this one goes out together.
        await asyncio.sleep(0)
        while self._waiting:
            taken: list[Waiting] = []
            count = 0
            while self._waiting and count < RECORDS_MAX:
                taken.append(self._waiting.pop(0))
                count += len(taken[-1][0])
            await self._deliver([record for records, _ in taken for record in records])
            for _, future in taken:
                if not future.done():
                    future.set_result(None)

    async def _deliver(self, records: list[OutgoingRecord]) -> None:
        """Until the broker has acknowledged all of them."""
        attempt = 0
        while records:
            try:
                producer = await self._connected()
                records, detail = await self._send(producer, records)
            except Exception as error:  # noqa: BLE001 - whatever it is, the records are kept, and readiness says why
                detail = str(error)
            if not records:
                break
            attempt += 1
            self._discard()
            self.problem = f"Kafka takes no records: {detail}"
            log.warning("publishing again", records=len(records), attempt=attempt, detail=detail)
            await self._around.sleep(min(PAUSE_MAX_S, FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 10)))
        self.problem = None

    async def _send(
        self, producer: AIOKafkaProducer, records: list[OutgoingRecord]
    ) -> tuple[list[OutgoingRecord], str]:
        """What was not acknowledged in time, in order, and why."""
        batches: list[Batch] = []
        detail = ""
        try:
            async with asyncio.timeout(ACK_LIMIT_S):
                await self._count_partitions(producer, records)
                partitions = [self._partition(record) for record in records]
                batches = batches_of(records, partitions, producer.create_batch)
                await send_batches(producer, batches)
        except TimeoutError:
            detail = "no acknowledgement in time"
        except Exception as error:  # noqa: BLE001 - whatever it is, these records are not sent; readiness says why
            detail = repr(error)
        if not batches:
            return records, detail
        for batch in batches:
            if batch.acknowledged is not None and not batch.acknowledged.done():
                batch.acknowledged.add_done_callback(_retrieve)
            detail = detail or batch.failure or ""
        return not_stored(records, batches), detail

    async def _count_partitions(self, producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]) -> None:
        """Of topics met for the first time."""
        for topic in {record.topic for record in records if record.partition is None} - self._counts.keys():
            self._counts[topic] = len(await producer.partitions_for(topic))

    def _partition(self, record: OutgoingRecord) -> int:
        if record.partition is not None:
            return record.partition
        count = self._counts[record.topic]
        if record.key is None:
            self._keyless += 1
            return self._keyless % count
        try:
            return partition_of(record.key.decode(), count)
        except UnicodeDecodeError:
            # A dead letter's key may be anything.
            return murmur2(record.key) % count

    async def _connected(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._servers,
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=BATCH_BYTES,
                    max_request_size=REQUEST_BYTES_MAX,
                    request_timeout_ms=int(ACK_LIMIT_S * 1000),
                )
                try:
                    await producer.start()
                except (KafkaError, OSError) as error:
                    await _stopped(producer)
                    raise BusAwayError(f"Kafka: {error!r}") from error
                self._producer, self._counts = producer, {}
            return self._producer

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        task = asyncio.create_task(_stopped(producer))
        self._discards.add(task)
        task.add_done_callback(self._discards.discard)


async def _stopped(producer: AIOKafkaProducer) -> None:
    """A producer that cannot flush would stop forever; after the limit its connection is cut under it."""
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await producer.stop()
    except (TimeoutError, KafkaError, OSError) as error:
        log.warning("producer cut off", detail=repr(error))
        await producer.client.close()


def _retrieve(future: asyncio.Future[object]) -> None:
    """An abandoned producer's failures were dealt with; asyncio need not report them again."""
    if not future.cancelled():
        future.exception()
