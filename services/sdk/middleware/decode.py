"""Decode: a record becomes work for a handler, or it is skipped, or it is named as a problem with a reason."""

from __future__ import annotations

from pydantic import ValidationError

from contracts.envelope import ATTRIBUTE_LENGTH_MAX, Envelope, EnvelopeError, decode_headers
from contracts.ids import fingerprint
from contracts.message import Message
from contracts.record import Headers, IncomingRecord
from contracts.topics import commands_topic, replays_topic
from services.sdk.outcomes import origin_of
from services.sdk.ports import Place
from services.sdk.reasons import ENVELOPE_REASONS, Code, Reason
from services.sdk.service import Service
from services.sdk.work import Problem, Skipped, Undecodable, Work

Decoded = Work | Skipped | Undecodable


class Decode:
    """Pure: the same record always decodes to the same value."""

    def __init__(self, service: Service) -> None:
        self._handlers = service.handlers
        self._catalog = service.catalog
        self._own = frozenset(commands_topic(context) for context in service.contexts)
        self._replays = replays_topic(service.name)
        self._places: dict[tuple[str, int], Place] = {}
        """Every partition met, once."""

    def __call__(self, record: IncomingRecord) -> Decoded:
        replayed = record.topic == self._replays
        origin = origin_of(record.topic, record.headers) if replayed else record.topic
        owned = origin in self._own
        type_name = _type_of(record.headers)
        if type_name is not None and not owned and type_name not in self._handlers:
            return Skipped(known=self._catalog.get(type_name) is not None)
        try:
            envelope = decode_headers(record.headers)
        except EnvelopeError as error:
            return Undecodable(record, Problem(ENVELOPE_REASONS.get(error.code, Reason.BAD_ATTRIBUTE), error.detail))
        long = _too_long(envelope)
        if long is not None:
            detail = f"{long} is longer than {ATTRIBUTE_LENGTH_MAX} characters"
            return Undecodable(record, Problem(Reason.BAD_ATTRIBUTE, detail))
        return self._work(record, envelope, origin, replayed=replayed)

    def _work(self, record: IncomingRecord, envelope: Envelope, origin: str, *, replayed: bool) -> Decoded:
        handler = self._handlers.get(envelope.type)
        key = None if record.key is None else record.key.decode(errors="replace")
        message: Message | None = None
        if handler is None:
            detail = f"this service does not handle {envelope.type[:200]!r}"
            problem: Problem | None = Problem(Reason.UNKNOWN_COMMAND, detail, Code.UNKNOWN_COMMAND)
        else:
            message, problem = _validated(handler.message, record, key)
            if handler.wants is not None and message is not None and not handler.wants(message):
                return Skipped(known=True)
        work = Work(
            record=record,
            place=self._place(record),
            envelope=envelope,
            origin=origin,
            identity=identity_of(envelope),
            fingerprint=fingerprint(envelope.type, record.value or b""),
            key=key if message is None else message.key,
            handler=handler,
            message=message,
            problem=problem,
            replayed=replayed,
        )
        if problem is not None and not (work.is_command and envelope.process_id):
            # Nobody waits for an answer, so nothing is stored: a replay decodes it anew.
            return Undecodable(record, problem)
        return work

    def _place(self, record: IncomingRecord) -> Place:
        name = (record.topic, record.partition)
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = Place(*name)
        return place


def _too_long(envelope: Envelope) -> str | None:
    """The attribute that is, of those that answers and store keys copy. Unbounded, it would make an answer that the
    broker refuses for its size, and that would be sent for ever."""
    if envelope.process_id and len(envelope.process_id) > ATTRIBUTE_LENGTH_MAX:
        return "ce_processid"
    if envelope.idempotency_key and len(envelope.idempotency_key) > ATTRIBUTE_LENGTH_MAX:
        return "ce_idempotencykey"
    return None


def identity_of(envelope: Envelope) -> str:
    """Under which the inbox keeps a message. The two forms cannot collide."""
    if envelope.idempotency_key:
        return f"k:{envelope.idempotency_key}"
    return f"m:{envelope.source} {envelope.id}"


def revoked_identities(envelope: Envelope) -> tuple[str, ...]:
    """Both forms under which the commands that an undo covers may be kept."""
    return tuple(name for covered in envelope.undoes for name in (f"k:{covered}", f"m:{envelope.source} {covered}"))


def _type_of(headers: Headers) -> str | None:
    """A quick look, since most events of a busy topic are not for this service."""
    for name, value in headers:
        if name == "ce_type":
            return value.decode(errors="replace") if value else None
    return None


def _validated(
    contract: type[Message], record: IncomingRecord, key: str | None
) -> tuple[Message | None, Problem | None]:
    if not record.value:
        return None, Problem(Reason.INVALID_JSON, "the record has no value", Code.INVALID_COMMAND)
    try:
        message = contract.model_validate_json(record.value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = Reason.INVALID_JSON if first["type"] == "json_invalid" else Reason.CONTRACT_VIOLATION
        where = ".".join(str(part) for part in first["loc"])
        return None, Problem(reason, f"{where}: {first['msg']}" if where else first["msg"], Code.INVALID_COMMAND)
    if key is not None and key != message.key:
        detail = f"the record's key is {key[:200]!r}, the payload's {message.key!r}"
        return None, Problem(Reason.KEY_MISMATCH, detail, Code.INVALID_COMMAND)
    return message, None
