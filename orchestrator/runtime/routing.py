"""Where an event goes: the router's decisions, pure. One record in; inbox records, a dead letter or a reason to skip
out.

The order of the checks is part of the contract (docs/protocol.md): envelope, reserved type, whether anybody here wants
it, process id, value, payload, key, saga keys. What nobody here wants is skipped without a look at its payload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

import orjson
from pydantic import ValidationError

from contracts.envelope import Envelope, EnvelopeError, decode_headers
from contracts.ids import KEY_LENGTH_MAX, KEY_PATTERN, is_business_key, partition_of, process_id
from contracts.message import Message
from contracts.record import Headers, IncomingRecord, OutgoingRecord
from contracts.technical import CommandFailed
from contracts.topics import INBOX, ORCHESTRATOR_REPLAYS, SHARDS
from orchestrator.engine.book import Route, SagaBook
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.inputs import AT_HEADER, SAGA_HEADER, VERSION_HEADER
from orchestrator.runtime.dead_letters import RouterReason, dead_letter, without_prefixes

RESERVED_PREFIX = "orchestrator."
"""Only the orchestrator's own clock, api and CLI say such things, straight to the inbox."""
OURS = frozenset(("cp_", "dl_"))
"""How the names of headers begin that a stranger's record may not bring into the inbox."""
TOPIC_HEADER = "cp_topic"
PARTITION_HEADER = "cp_partition"
OFFSET_HEADER = "cp_offset"
"""Where an inbox record came from."""
PROCESS_ID_PATTERN = re.compile(rf"[a-z][a-z0-9]*(?:-[a-z0-9]+)*:({KEY_PATTERN.pattern})")
ERRORS_SHOWN = 5
"""Field errors in a dead letter's detail."""

SkipReason = Literal["not-for-a-saga", "unknown-type"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`record` is ready to be published."""

    reason: RouterReason
    record: OutgoingRecord


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of one record. A start that fails for one saga still reaches the others: then there are inbox
    records and a dead letter."""

    inbox: tuple[OutgoingRecord, ...] = ()
    starts: int = 0
    """So many of `inbox`, the last ones, may start a process."""
    observed: int = 0
    """So many of `inbox`, those before them, are for processes that wait for the event."""
    dead: DeadLetter | None = None
    skipped: SkipReason | None = None


NOT_FOR_A_SAGA = Routed(skipped="not-for-a-saga")
UNKNOWN_TYPE = Routed(skipped="unknown-type")


class Unroutable(Exception):
    """The record goes to dead letters."""

    def __init__(self, reason: RouterReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: RouterReason = reason
        self.detail = detail


class Routing:
    """`route` never raises, whatever the record or a saga's key function does."""

    def __init__(self, book: SagaBook) -> None:
        self._book = book

    def route(self, record: IncomingRecord) -> Routed:
        """`record` is from a domain topic, or from `orchestrator.replays`."""
        record = original(record)
        try:
            return self._route(record)
        except Unroutable as error:
            return Routed(dead=buried(record, error.reason, error.detail))

    def _route(self, record: IncomingRecord) -> Routed:
        envelope = _envelope(record)
        type_name, target = envelope.type, envelope.process_id
        if type_name.startswith(RESERVED_PREFIX):
            raise Unroutable("reserved-type", f"{type_name} is the orchestrator's own")
        starts = self._book.routes(type_name)
        routes = (*self._book.observes(type_name), *starts)
        contract = routes[0].wants if routes else self._book.catalog.get(type_name)
        if target is None and not routes:
            return UNKNOWN_TYPE if contract is None else NOT_FOR_A_SAGA
        if target is not None:
            check_process_id(target)
        message = _checked(contract, record)
        if not routes:
            assert target is not None, "else nobody wants it"
            return Routed((_inbox(target, record, _marked(record)),))
        assert message is not None, "what a saga wants has a contract"
        return _wanted(record, target, routes, len(starts), message)


def buried(record: IncomingRecord, reason: RouterReason, detail: str) -> DeadLetter:
    """Given up at its append time: the same record always makes the same dead letter."""
    return DeadLetter(reason, dead_letter(record, reason, detail, record.timestamp_ms))


def original(record: IncomingRecord) -> IncomingRecord:
    """A replayed dead letter as it was before it was given up: the place in its `dl_*` headers, and none of them left.
    Any other record, and a replay without a whole and sound set of them, is itself the original."""
    if record.topic != ORCHESTRATOR_REPLAYS:
        return record
    dead = {name: value for name, value in record.headers if name.startswith("dl_")}
    try:
        topic = dead["dl_topic"].decode()
        partition, offset = int(dead["dl_partition"]), int(dead["dl_offset"])
    except (KeyError, ValueError):
        return record
    return record._replace(
        topic=topic,
        partition=partition,
        offset=offset,
        headers=without_prefixes(record.headers, ("dl_",)),
    )


def check_process_id(text: str) -> None:
    """`<saga>:<business key>`; whether there is such a process is the engine's question. Raises Unroutable."""
    match = PROCESS_ID_PATTERN.fullmatch(text)
    if match is None or len(match[1]) > KEY_LENGTH_MAX:
        raise Unroutable("bad-process-id", f"ce_processid is {text!r}, not <saga>:<business key>")


def _envelope(record: IncomingRecord) -> Envelope:
    try:
        return decode_headers(record.headers)
    except EnvelopeError as error:
        raise Unroutable(cast(RouterReason, error.code), error.detail) from error


def _checked(contract: type[Message] | None, record: IncomingRecord) -> Message | None:
    """The payload, valid by its contract and under the right key. None: a type that is unknown here, which must be
    JSON at least. Raises Unroutable."""
    value = record.value
    if value is None:
        raise Unroutable("missing-value", "the record has no value")
    if contract is None:
        _check_json(value)
        return None
    try:
        message = parse_payload(contract, value)
    except PayloadInvalid as error:
        raise _invalid(error) from error
    if record.key and contract is not CommandFailed and record.key != message.key.encode():
        found = record.key.decode(errors="replace")
        raise Unroutable("key-mismatch", f"the key is {found!r}, the payload's is {message.key!r}")
    return message


def _check_json(value: bytes) -> None:
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Unroutable("invalid-json", str(error)) from error


def _invalid(error: PayloadInvalid) -> Unroutable:
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return Unroutable("invalid-payload", str(error))
    errors = cause.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return Unroutable("invalid-json", errors[0]["msg"])
    texts = [f"{'.'.join(map(str, e['loc'])) or 'payload'}: {e['msg']}" for e in errors[:ERRORS_SHOWN]]
    if len(errors) > ERRORS_SHOWN:
        texts.append(f"and {len(errors) - ERRORS_SHOWN} more")
    return Unroutable("invalid-payload", "; ".join(texts))


def _wanted(
    record: IncomingRecord, target: str | None, routes: tuple[Route, ...], starts: int, message: Message
) -> Routed:
    """One record for each process that waits for the event or may be started by it (the last `starts` routes), and one
    for the process that it names, if that is another. The stamp says which definition knows the event."""
    marked = _marked(record)
    observed: dict[str, OutgoingRecord] = {}
    started: dict[str, OutgoingRecord] = {}
    failures: dict[str, None] = {}
    for number, route in enumerate(routes):
        try:
            process = process_id(route.saga, _business_key(route, message))
        except Unroutable as error:
            failures[error.detail] = None
            continue
        stamp = (
            (SAGA_HEADER, route.saga.encode()),
            (VERSION_HEADER, b"%d" % route.version),
            (AT_HEADER, b"%d" % record.timestamp_ms),
        )
        if number >= len(routes) - starts:
            observed.pop(process, None)
            started[process] = _inbox(process, record, (*marked, *stamp))
        elif process not in observed:
            observed[process] = _inbox(process, record, (*marked, *stamp))
    known = target is None or target in observed or target in started
    named = () if known or target is None else (_inbox(target, record, marked),)
    dead = buried(record, "key-failed", "; ".join(failures)) if failures else None
    return Routed((*named, *observed.values(), *started.values()), len(started), len(observed), dead)


def _business_key(route: Route, message: Message) -> str:
    try:
        key: object = route.key(message)
    except Exception as error:
        raise Unroutable("key-failed", f"the key of saga {route.saga} raised {type(error).__name__}") from error
    if not isinstance(key, str):
        raise Unroutable("key-failed", f"the key of saga {route.saga} is a {type(key).__name__}, not an id")
    if not is_business_key(key):
        raise Unroutable("key-failed", f"the key of saga {route.saga} is {key[:KEY_LENGTH_MAX]!r}, not an id")
    return key


def _marked(record: IncomingRecord) -> Headers:
    """The original headers and the record's origin."""
    return (
        *[pair for pair in record.headers if pair[0][:3] not in OURS],
        (TOPIC_HEADER, record.topic.encode()),
        (PARTITION_HEADER, b"%d" % record.partition),
        (OFFSET_HEADER, b"%d" % record.offset),
    )


def _inbox(target: str, record: IncomingRecord, headers: Headers) -> OutgoingRecord:
    assert record.value is not None, "checked"
    return OutgoingRecord(INBOX, target.encode(), record.value, headers, partition_of(target, SHARDS))
