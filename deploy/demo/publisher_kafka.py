"""Publishes the traffic as a stranger's program would: a plain Kafka producer, nothing of this system's code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from contracts.record import OutgoingRecord
from contracts.topics import MESSAGE_BYTES_MAX
from deploy.demo.traffic import Published, Sending

REQUEST_BYTES_MAX = 4 * MESSAGE_BYTES_MAX
"""Above any message of the demo, so that it is the broker that refuses."""
UNACKNOWLEDGED_MAX = 500
LOOK_SECONDS = 0.1


class Publisher:
    """Sends in order, at most `rate` a second (0: as fast as the broker takes them)."""

    def __init__(
        self,
        kafka: str,
        rate: float,
        on_published: Callable[[Published], None],
        has_started: Callable[[str], bool] = lambda process: True,
    ) -> None:
        """`has_started` tells whether a process is known to run; what must come after its start waits for that."""
        self._kafka = kafka
        self._rate = rate
        self._on_published = on_published
        self._has_started = has_started

    async def run(self, sendings: Iterable[Sending]) -> None:
        """Returns when everything is acknowledged or refused."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka, enable_idempotence=True)
        await producer.start()
        try:
            await self._send_all(producer, sendings)
        finally:
            await producer.stop()

    async def _send_all(self, producer: AIOKafkaProducer, sendings: Iterable[Sending]) -> None:
        loop = asyncio.get_running_loop()
        began, waiting = loop.time(), set[asyncio.Task[None]]()
        for number, sending in enumerate(sendings):
            if self._rate:
                await asyncio.sleep(max(0.0, began + number / self._rate - loop.time()))
            await self._wait_for_start(sending)
            if sending.expects == "refused":
                await self._send_refused(sending)
                continue
            future = await _sent(producer, sending)
            waiting.add(asyncio.create_task(self._acknowledged(sending, future)))
            if len(waiting) >= UNACKNOWLEDGED_MAX:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                _raise_failures(done)
        await asyncio.gather(*waiting)

    async def _wait_for_start(self, sending: Sending) -> None:
        assert sending.process is not None or not sending.after_start
        # The observer folds records and knows no events, so this looks again from time to time.
        while sending.after_start and not self._has_started(sending.process or ""):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)

    async def _acknowledged(self, sending: Sending, future: asyncio.Future[object]) -> None:
        metadata = await future
        place = metadata.topic, metadata.partition, metadata.offset  # type: ignore[attr-defined]  # untyped client
        self._on_published(Published(sending, place, metadata.timestamp))  # type: ignore[attr-defined]

    async def _send_refused(self, sending: Sending) -> None:
        """On a producer of its own: a refused batch spoils the sequence numbers of an idempotent one."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka, max_request_size=REQUEST_BYTES_MAX)
        await producer.start()
        try:
            metadata = await producer.send_and_wait(**_arguments(sending.record))
        except MessageSizeTooLargeError:
            self._on_published(Published(sending, None, 0))
        else:
            place = metadata.topic, metadata.partition, metadata.offset
            self._on_published(Published(sending, place, metadata.timestamp))
        finally:
            await producer.stop()


async def _sent(producer: AIOKafkaProducer, sending: Sending) -> asyncio.Future[object]:
    """Waits while the producer has no room, for as long as the broker is away: a shop does not lose its orders."""
    while True:
        try:
            future: asyncio.Future[object] = await producer.send(**_arguments(sending.record))
        except KafkaTimeoutError:
            continue
        return future


def _raise_failures(done: set[asyncio.Task[None]]) -> None:
    for task in done:
        task.result()


def _arguments(record: OutgoingRecord) -> dict[str, object]:
    return {"topic": record.topic, "key": record.key, "value": record.value, "headers": list(record.headers)}
