"""From what a handler returned to the records to publish: ids, keys and causation (DESIGN section 3), and the codec
of stored outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgpack
import msgspec

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import handler_message_id, service_source
from contracts.message import Command, Message
from contracts.record import Headers, OutgoingRecord
from contracts.technical import CommandFailed
from contracts.topics import MESSAGE_BYTES_MAX, dead_letters_topic, events_topic
from services.sdk.reasons import Code
from services.sdk.work import Failure, Problem, Undecodable, Work

RECORD_OVERHEAD_BYTES = 512
"""Allowance for the batch header, the length fields and the header names of one Kafka record."""
TYPES_MAX = 1_024
"""Pairs of message type and contract that are remembered."""
DETAIL_LENGTH_MAX = 1_000
"""Longest `dl_detail` and `command-failed.message`, in characters."""


Header = tuple[str, bytes]


class BrokenHandlerError(Exception):
    """A handler returned what its contract does not allow; the message says what."""


class _Stamp(msgspec.Struct, frozen=True, gc=False):
    """What all records have in common that one message causes."""

    service: str
    handler: str
    cause: str
    now_ms: int
    causation: Header
    process: Headers
    """Of the outcome alone; empty without a process."""
    trace: tuple[bytes, bytes] | None
    """What stands before and behind the span id."""


def record_of(service: str, work: Work, message: Message, index: int, *, answers: bool, now_ms: int) -> OutgoingRecord:
    """The record of the `index`-th published message. `answers`: it is the outcome of the command in `work`."""
    return _record(_stamp(service, work, now_ms), work, message, index, answers)


def _stamp(service: str, work: Work, now_ms: int) -> _Stamp:
    envelope, process = work.envelope, work.envelope.process_id
    return _Stamp(
        service,
        work.handler.name if work.handler is not None else "-",
        work.cause,
        now_ms,
        ("ce_causationid", envelope.id.encode()),
        () if process is None else (("ce_processid", process.encode()),),
        _trace_ends(envelope.traceparent) if envelope.traceparent else None,
    )


def _record(stamp: _Stamp, work: Work, message: Message, index: int, answers: bool) -> OutgoingRecord:
    kind = type(message)
    identity = handler_message_id(stamp.service, stamp.handler, stamp.cause, kind.type, index)
    headers = _headers(stamp, kind, identity.encode(), answers)
    if _is_a(kind, (CommandFailed,)):
        home = work.handler.message.topic if work.handler is not None else work.origin
        key, topic = work.key, events_topic(home.removesuffix(".commands"))
    else:
        key, topic = message.key, kind.topic
    return OutgoingRecord(topic, None if key is None else key.encode(), message.to_json(), headers)


def _headers(stamp: _Stamp, kind: type[Message], id_: bytes, answers: bool) -> Headers:
    """What `contracts.envelope.encode_headers` writes of the same attributes, in a third of its time."""
    first, usual = _usual_headers(stamp.service, kind.type, stamp.now_ms)
    process = stamp.process if answers else ()
    key = (("ce_idempotencykey", id_),) if _is_a(kind, (Command,)) else ()
    trace = () if stamp.trace is None else (("traceparent", _child(stamp.trace, id_)),)
    return (first, ("ce_id", id_), *usual, *process, stamp.causation, *key, *trace)


USUAL_MAX = 1_024
"""Sets of headers that are kept: of a few types in a few milliseconds."""


@lru_cache(maxsize=USUAL_MAX)
def _usual_headers(service: str, type_name: str, now_ms: int) -> tuple[Header, Headers]:
    """The one before the id, and those behind it. Many messages share a millisecond."""
    envelope = Envelope(id="-", source=service_source(service), type=type_name, time=format_time(now_ms))
    first, _, *usual = encode_headers(envelope)
    return first, tuple(usual)


def child_trace(parent: str | None, identity: str) -> str | None:
    """W3C `traceparent` of a message caused under `parent`: same trace, and a span id out of the message's id (which is
    half a SHA-256: contracts.ids.handler_message_id)."""
    ends = _trace_ends(parent) if parent else None
    return None if ends is None else _child(ends, identity.encode()).decode()


def _child(ends: tuple[bytes, bytes], id_: bytes) -> bytes:
    return ends[0] + id_[:16] + ends[1]


def _trace_ends(parent: str) -> tuple[bytes, bytes] | None:
    """What stands before and behind the span id."""
    parts = parent.split("-")
    if [len(part) for part in parts] != [2, 32, 16, 2]:
        return None
    return f"{parts[0]}-{parts[1]}-".encode(), f"-{parts[3]}".encode()


def records_of(service: str, work: Work, messages: tuple[Message, ...], now_ms: int) -> tuple[OutgoingRecord, ...]:
    """The records of a handler's messages; for a command exactly one of them is its outcome.

    Raises:
        BrokenHandlerError: no outcome or several, something that is not a message, or one too large for the broker.
    """
    outcomes = work.handler.outcomes if work.handler is not None else ()
    answers = []
    for message in messages:
        kind = type(message)
        if not _is_a(kind, (Message,)) or not kind.type:
            raise BrokenHandlerError(f"returned {kind.__name__}, which is not a message")
        answers.append(_is_a(kind, outcomes))
    if outcomes and sum(answers) != 1:
        raise BrokenHandlerError(f"returned {sum(answers)} outcomes of its command instead of one")
    records: list[OutgoingRecord] = []
    stamp = _stamp(service, work, now_ms)
    for index, message in enumerate(messages):
        record = _record(stamp, work, message, index, answers[index])
        # Headers hold a few attributes of bounded length: only what is large is measured.
        if len(record.value) + len(record.key or b"") > MESSAGE_BYTES_MAX // 2 and size_of(record) > MESSAGE_BYTES_MAX:
            raise BrokenHandlerError(f"a message of {size_of(record)} bytes is over the {MESSAGE_BYTES_MAX} allowed")
        records.append(record)
    return tuple(records)


@lru_cache(maxsize=TYPES_MAX)
def _is_a(kind: type[Any], of: tuple[type[Any], ...]) -> bool:
    """`issubclass`, which takes a while for pydantic's classes."""
    return issubclass(kind, of)


def is_success(work: Work, messages: tuple[Message, ...]) -> bool:
    successes = work.handler.successes if work.handler is not None else ()
    return any(_is_a(type(message), successes) for message in messages)


def failed(service: str, work: Work, failure: Failure, now_ms: int) -> OutgoingRecord:
    """The `command-failed` that answers the command in `work`."""
    message = CommandFailed(
        command_type=work.envelope.type[:1_000],
        code=failure.code[:1_000] or Code.HANDLER_FAILED,
        message=failure.message[:DETAIL_LENGTH_MAX],
        effect="none" if failure.certain else "unknown",
        retryable=failure.retryable and failure.certain,
    )
    return record_of(service, work, message, 0, answers=True, now_ms=now_ms)


def dead_letter(service: str, letter: Work | Undecodable, problem: Problem, now_ms: int) -> OutgoingRecord:
    """The original record with its `dl_*` headers, for `<service>.dead-letters`. A replay that fails again names the
    place of the first record, not its own."""
    record = letter.record
    earlier = dict(record.headers) if record.topic.endswith(".replays") else {}
    more = {
        "dl_reason": str(problem.reason).encode(),
        "dl_detail": problem.detail[:DETAIL_LENGTH_MAX].encode(),
        "dl_topic": earlier.get("dl_topic") or record.topic.encode(),
        "dl_partition": earlier.get("dl_partition") or str(record.partition).encode(),
        "dl_offset": earlier.get("dl_offset") or str(record.offset).encode(),
        "dl_service": service.encode(),
        "dl_at": format_time(now_ms).encode(),
    }
    kept = tuple(header for header in record.headers if not header[0].startswith("dl_"))
    return OutgoingRecord(dead_letters_topic(service), record.key, record.value or b"", (*kept, *more.items()))


def origin_of(topic: str, headers: Iterable[tuple[str, bytes]]) -> str:
    """The topic a replayed record came from; `topic` itself for any other record."""
    if not topic.endswith(".replays"):
        return topic
    named = next((value for name, value in headers if name == "dl_topic" and value), None)
    return topic if named is None else named.decode(errors="replace")


def size_of(record: OutgoingRecord) -> int:
    """About what the broker will count, in bytes."""
    headers = sum([len(value) for _, value in record.headers])
    return len(record.key or b"") + len(record.value) + headers + RECORD_OVERHEAD_BYTES


_packer = msgpack.Packer()


def pack(records: Iterable[OutgoingRecord]) -> bytes:
    """Stored form of outcomes: the exact bytes that are published, again and again."""
    rows = [(record.topic, record.key, record.value, record.headers) for record in records]
    packed: bytes = _packer.pack(rows)
    return packed


def unpack(stored: bytes) -> tuple[OutgoingRecord, ...]:
    rows = msgpack.unpackb(stored, use_list=False) if stored else ()
    return tuple(OutgoingRecord(topic, key, value, headers) for topic, key, value, headers in rows)
