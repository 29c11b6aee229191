"""The one way of everything that comes in: reserve the key, publish, wait for Kafka, store the answer.

The id of an event is made from its origin and key. So a repeat after a crash at any point publishes the same
(`ce_source`, `ce_id`) again or nothing at all, and whoever reads it sees one event.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import fingerprint, handler_message_id, service_source
from contracts.message import Message
from contracts.record import OutgoingRecord
from contracts.topics import MESSAGE_BYTES_MAX
from services.gateway.failures import KeyConflict, Unavailable
from services.gateway.keys import Entry, KeyMemory
from services.gateway.publishing import Publisher
from services.sdk.failures import StoreAwayError
from services.sdk.surroundings import Surroundings

SERVICE = "gateway"
STORE_WAIT_S = 5.0
RECORD_ROOM_BYTES = 8 * 1024
"""For the key, the headers and the broker's own."""

log = structlog.get_logger("services.gateway")


class TooLarge(Exception):
    """The event would be larger than the broker takes."""


@dataclass(frozen=True, slots=True)
class Submission:
    """`origin`: `forms/<type>`, `webhooks/<source>` or `resume`; `key` is unique within it. `keep_ms`: how long a
    repeat is recognised. `topic` and `partition`: where it goes, if not where its contract says."""

    origin: str
    key: str
    message: Message
    keep_ms: int
    traceparent: str | None = None
    topic: str | None = None
    partition: int | None = None

    @property
    def event_id(self) -> str:
        return handler_message_id(SERVICE, self.origin, self.key, self.message.type, 0)

    @property
    def name(self) -> str:
        """Of the key's entry in the memory."""
        return f"{self.origin}\x1f{self.key}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Kafka has it. `repeated`: it had it before this submission."""

    event_id: str
    type: str
    received_ms: int
    repeated: bool


class Intake:
    def __init__(self, keys: KeyMemory, publisher: Publisher, around: Surroundings) -> None:
        self._keys = keys
        self._publisher = publisher
        self._around = around

    async def accept(self, submission: Submission) -> Receipt:
        """Returns once Kafka has acknowledged the event.

        Raises:
            Unavailable: not known to be published. KeyConflict: the key stands for another content. TooLarge.
        """
        message, data = submission.message, submission.message.to_json()
        if len(data) > MESSAGE_BYTES_MAX - RECORD_ROOM_BYTES:
            raise TooLarge(f"the event would have {len(data)} bytes; the broker takes {MESSAGE_BYTES_MAX}")
        wanted = Entry(fingerprint(message.type, data), submission.event_id, self._around.now_ms(), answered=False)
        held = await self._reserve(submission, wanted)
        if held.fingerprint != wanted.fingerprint:
            raise KeyConflict(held.event_id)
        if not held.answered:
            await self._publisher.publish(held.event_id, _record(submission, held, data))
            await self._settle(submission, held)
        return Receipt(held.event_id, message.type, held.received_ms, repeated=held.answered)

    async def _reserve(self, submission: Submission, entry: Entry) -> Entry:
        try:
            async with asyncio.timeout(STORE_WAIT_S):
                return await self._keys.reserve(submission.name, entry, submission.keep_ms)
        except StoreAwayError as error:
            raise Unavailable("store", str(error)) from error
        except TimeoutError:
            raise Unavailable("store", f"the memory of keys has not answered within {STORE_WAIT_S:g} s") from None

    async def _settle(self, submission: Submission, entry: Entry) -> None:
        try:
            async with asyncio.timeout(STORE_WAIT_S):
                await self._keys.settle(submission.name, entry, submission.keep_ms)
        except (StoreAwayError, TimeoutError) as error:
            # It is in Kafka, so it is accepted. A repeat publishes it again, with the same id.
            log.warning("answer not stored", event_id=entry.event_id, origin=submission.origin, detail=repr(error))


def _record(submission: Submission, entry: Entry, data: bytes) -> OutgoingRecord:
    envelope = Envelope(
        id=entry.event_id,
        source=service_source(SERVICE),
        type=submission.message.type,
        time=format_time(entry.received_ms),
        traceparent=submission.traceparent,
    )
    topic = submission.topic or submission.message.topic
    return OutgoingRecord(topic, submission.message.key.encode(), data, encode_headers(envelope), submission.partition)
