"""The messages that a decision publishes, as records with deterministic ids and bytes."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from contracts.envelope import Envelope, decode_headers, encode_headers, format_time
from contracts.ids import ORCHESTRATOR_SOURCE, emit_id, partition_of
from contracts.message import Command, Event
from contracts.process import ProcessLifecycle
from contracts.record import Headers, OutgoingRecord
from contracts.topics import INBOX, MESSAGE_BYTES_MAX, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.engine.process import Early, Value

RECORD_OVERHEAD_BYTES = 1024
"""Room kept for a record's framing, within the broker's limit (our own margin; a batch's header has 61 bytes)."""
LENGTH_BYTES = 5
"""The most that Kafka's record format spends on the length of a header's name or value (a varint)."""
LARGE_BYTES = 64 * 1024
"""A payload above it is measured exactly, with key and headers; below it there is no need."""


TRACEPARENT_PATTERN = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, section 3.2 (version 00)."""

_SPAN_AT = len("00-") + 32 + len("-")
"""Where the span id begins in it; it has 16 digits."""


class EffectTooLarge(ValueError):
    """The broker would refuse the message; the process is stuck instead."""


TIMES_MAX = 256
"""Texts of times that are kept."""
time_text = lru_cache(maxsize=TIMES_MAX)(format_time)
"""All messages of one turn have the same time, and most of them the same deadline."""


class Effect(Value, frozen=True):
    """A record to publish, with the attributes that history shows."""

    record: OutgoingRecord
    id: str
    type: str
    undoes: tuple[str, ...] = ()


def command_effect(
    command: type[Command],
    key: str,
    data: bytes,
    *,
    process: str,
    id: str,
    now_ms: int,
    deadline_ms: int,
    try_number: int,
    undoes: tuple[str, ...],
    traceparent: str,
    causation: str,
) -> Effect:
    """Raises EffectTooLarge."""
    envelope = Envelope(
        id=id,
        source=ORCHESTRATOR_SOURCE,
        type=command.type,
        time=time_text(now_ms),
        process_id=process,
        causation_id=causation,
        idempotency_key=id,
        deadline=time_text(deadline_ms),
        try_number=try_number,
        undoes=undoes,
        traceparent=child_traceparent(traceparent, id),
    )
    return _effect(command.topic, key, data, envelope)


def emit_effect(
    event: type[Event],
    key: str,
    data: bytes,
    *,
    process: str,
    name: str,
    now_ms: int,
    traceparent: str,
    causation: str,
) -> Effect:
    """Raises EffectTooLarge."""
    identity = emit_id(process, name)
    envelope = Envelope(
        id=identity,
        source=ORCHESTRATOR_SOURCE,
        type=event.type,
        time=time_text(now_ms),
        causation_id=causation,
        traceparent=child_traceparent(traceparent, identity),
    )
    return _effect(event.topic, key, data, envelope)


def lifecycle_effect(
    event: type[ProcessLifecycle],
    process: str,
    data: bytes,
    *,
    serial: str,
    now_ms: int,
    traceparent: str,
    causation: str,
) -> Effect:
    """`serial` tells the events of one process apart: its revision, and their number within it, from 0."""
    identity = f"{process}/phase/{serial}"
    return _notice(event, process, data, id=identity, now_ms=now_ms, traceparent=traceparent, causation=causation)


def notice_effect(event: Event, key: str, *, id: str, now_ms: int, traceparent: str, causation: str) -> Effect:
    """The orchestrator's own event about a process."""
    data = event.to_json()
    return _notice(type(event), key, data, id=id, now_ms=now_ms, traceparent=traceparent, causation=causation)


def _notice(
    event: type[Event], key: str, data: bytes, *, id: str, now_ms: int, traceparent: str, causation: str
) -> Effect:
    envelope = Envelope(
        id=id,
        source=ORCHESTRATOR_SOURCE,
        type=event.type,
        time=time_text(now_ms),
        causation_id=causation,
        traceparent=child_traceparent(traceparent, id),
    )
    return _effect(event.topic, key, data, envelope)


def inbox_effect(
    message: Event,
    target: str,
    *,
    id: str,
    now_ms: int,
    causation: str,
    traceparent: str | None = None,
    named: bool = False,
    stamp: tuple[str, int] | None = None,
    undoes: tuple[str, ...] = (),
) -> Effect:
    """An input to another process (`target`), straight into its shard. Raises EffectTooLarge.

    `named`: the envelope names the process, as an answer does. `stamp`: the saga and version that the receiver has, if
    it must begin.
    """
    envelope = Envelope(
        id=id,
        source=ORCHESTRATOR_SOURCE,
        type=message.type,
        time=time_text(now_ms),
        process_id=target if named else None,
        causation_id=causation,
        undoes=undoes,
        traceparent=None if traceparent is None else child_traceparent(traceparent, id),
    )
    stamped: Headers = ()
    if stamp is not None:
        stamped = ((SAGA_HEADER, stamp[0].encode()), (VERSION_HEADER, b"%d" % stamp[1]))
    return _effect(INBOX, target, message.to_json(), envelope, stamped, partition_of(target, SHARDS))


def _effect(
    topic: str, key: str, data: bytes, envelope: Envelope, more: Headers = (), partition: int | None = None
) -> Effect:
    record = OutgoingRecord(topic, key.encode(), data, encode_headers(envelope) + more, partition)
    if len(data) > LARGE_BYTES:
        headers = sum(len(name.encode()) + len(value) + 2 * LENGTH_BYTES for name, value in record.headers)
        size = len(data) + len(record.key or b"") + headers + RECORD_OVERHEAD_BYTES
        if size > MESSAGE_BYTES_MAX:
            raise EffectTooLarge(f"{envelope.type} has {size} bytes; the broker takes {MESSAGE_BYTES_MAX} a record")
    return Effect(record, envelope.id, envelope.type, envelope.undoes)


def never_started_effect(process: str, early: Early, now_ms: int) -> Effect:
    """The dead letter of an early message (headers: docs/protocol.md); its place is that of the inbox record."""
    headers: Headers = (
        *early.headers,
        ("dl_reason", b"never-started"),
        ("dl_detail", f"no process {process} has started in time".encode()),
        ("dl_topic", INBOX.encode()),
        ("dl_partition", b"%d" % partition_of(process, SHARDS)),
        ("dl_offset", b"%d" % early.offset),
        ("dl_service", b"orchestrator"),
        ("dl_at", time_text(now_ms).encode()),
    )
    record = OutgoingRecord(ORCHESTRATOR_DEAD_LETTERS, early.key.encode(), early.data, headers)
    return Effect(record, decode_headers(early.headers).id, early.type)


def too_old_effect(process: str, key: str, data: bytes, envelope: Envelope, offset: int, now_ms: int) -> Effect:
    """The dead letter of a start record that is older than the memory of ended processes."""
    headers: Headers = (
        *encode_headers(envelope),
        ("dl_reason", b"too-old"),
        ("dl_detail", f"whether {process} has been there is not known any more".encode()),
        ("dl_topic", INBOX.encode()),
        ("dl_partition", b"%d" % partition_of(process, SHARDS)),
        ("dl_offset", b"%d" % offset),
        ("dl_service", b"orchestrator"),
        ("dl_at", time_text(now_ms).encode()),
    )
    return Effect(OutgoingRecord(ORCHESTRATOR_DEAD_LETTERS, key.encode(), data, headers), envelope.id, envelope.type)


def first_traceparent(given: str | None, process: str) -> str:
    """The W3C trace context of a process: its start event's, or one derived from the process id."""
    if given is not None and TRACEPARENT_PATTERN.fullmatch(given):
        return given
    trace = hashlib.sha256(process.encode()).hexdigest()
    return f"00-{trace[:32]}-{trace[32:48]}-01"


def child_traceparent(parent: str, identity: str) -> str:
    """The same trace, with a span id derived from the message id (nothing in here is random)."""
    span = hashlib.sha256(identity.encode()).digest()[:8].hex()
    return f"{parent[:_SPAN_AT]}{span}{parent[_SPAN_AT + 16 :]}"
