"""CloudEvents 1.0 in Kafka binary mode: the envelope of every message, and its codec.

Attributes travel as `ce_*` headers, the payload as the record's JSON value. Reading is tolerant where DESIGN says
so (a missing `content-type` or `ce_time` is accepted), strict where an error would be silent: a missing required
attribute, another spec version or another content type is an `EnvelopeError` with a machine-readable code.
Source: CloudEvents 1.0.2, Kafka protocol binding 1.0.2, section 3.2 (binary content mode).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from contracts.record import Headers

CONTENT_TYPE = "application/json"
ATTRIBUTE_LENGTH_MAX = 1_024
"""Longest accepted `ce_id` or `ce_source`, in characters (our own limit; the spec sets none)."""


class EnvelopeError(ValueError):
    """The record's headers are not a CloudEvent that this system accepts; `code` says which rule is broken."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


NO_EXTENSIONS: Mapping[str, str] = MappingProxyType({})


class Envelope(NamedTuple):
    """The attributes of one message. A message is identified by (`source`, `id`)."""

    id: str
    source: str
    type: str
    time: str | None = None
    process_id: str | None = None
    causation_id: str | None = None
    idempotency_key: str | None = None
    deadline: str | None = None
    """RFC 3339. A participant does not start a command after it."""
    try_number: int | None = None
    undoes: tuple[str, ...] = ()
    """The command ids that an undo covers; on the wire `ce_undoes`, separated by commas."""
    traceparent: str | None = None
    extensions: Mapping[str, str] = NO_EXTENSIONS
    """Attributes that mean nothing to us, by name without `ce_`."""

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two deliveries the same message."""
        return (self.source, self.id)

    @property
    def deadline_ms(self) -> int | None:
        """The deadline in milliseconds since the epoch. Raises EnvelopeError if it is not RFC 3339."""
        return None if self.deadline is None else parse_time(self.deadline)


_made = partial(tuple.__new__, Envelope)
"""An envelope of all its values in order: what a named tuple does by itself, without a function of Python's."""


def encode_headers(envelope: Envelope) -> Headers:
    """The record headers of `envelope`, in a fixed order (equal envelopes give equal bytes)."""
    headers = [
        _SPECVERSION,
        ("ce_id", envelope.id.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_type", envelope.type.encode()),
        _CONTENT_TYPE,
    ]
    add = headers.append
    if envelope.time is not None:
        add(("ce_time", envelope.time.encode()))
    if envelope.process_id is not None:
        add(("ce_processid", envelope.process_id.encode()))
    if envelope.causation_id is not None:
        add(("ce_causationid", envelope.causation_id.encode()))
    if envelope.idempotency_key is not None:
        add(("ce_idempotencykey", envelope.idempotency_key.encode()))
    if envelope.deadline is not None:
        add(("ce_deadline", envelope.deadline.encode()))
    if envelope.try_number is not None:
        add(("ce_try", b"%d" % envelope.try_number))
    if envelope.undoes:
        add(("ce_undoes", ",".join(envelope.undoes).encode()))
    if envelope.traceparent is not None:
        add(("traceparent", envelope.traceparent.encode()))
    if envelope.extensions:
        headers.extend((f"ce_{name}", value.encode()) for name, value in sorted(envelope.extensions.items()))
    return tuple(headers)


_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/json")
_ATTRIBUTES = {
    f"ce_{name}": name
    for name in (
        "id", "source", "type", "specversion", "time", "processid", "causationid", "idempotencykey", "deadline",
        "try", "undoes",
    )
} | {"content-type": "content-type", "traceparent": "traceparent"}  # fmt: skip
"""Header name -> attribute, of all that mean something to us, in the spelling that we write ourselves."""


LAYOUTS_MAX = 1_024
"""Sequences of header names whose meaning is remembered. A producer writes the same few over and over."""
_FIELDS = (
    "specversion", "content-type", "id", "source", "type", "time", "processid", "causationid", "idempotencykey",
    "deadline", "try", "undoes", "traceparent",
)  # fmt: skip


@lru_cache(maxsize=LAYOUTS_MAX)
def _layout(names: tuple[str, ...]) -> Callable[[Sequence[bytes | None]], tuple[bytes | None, ...]] | None:
    """Takes the value of each of `_FIELDS` out of those of headers with these names, and the last one, which is none of
    theirs, where there is none. None if one is there twice, or there are extensions."""
    places = dict.fromkeys(_FIELDS, -1)
    for place, name in enumerate(names):
        lowered = name.lower()
        attribute = _ATTRIBUTES.get(lowered)
        if attribute is None:
            if lowered.startswith("ce_"):
                return None
        elif places[attribute] >= 0:
            return None
        else:
            places[attribute] = place
    take: Callable[[Sequence[bytes | None]], tuple[bytes | None, ...]] = itemgetter(*places.values())
    return take


def decode_headers(headers: Headers) -> Envelope:
    """The envelope in a record's headers.

    Raises:
        EnvelopeError: `missing-attribute`, `bad-attribute`, `wrong-specversion` or `wrong-content-type`.
    """
    envelope = _decode_usual(headers)
    return decode_carefully(headers) if envelope is None else envelope


def _decode_usual(headers: Headers) -> Envelope | None:
    """What `decode_carefully` says of headers of which nothing is unusual; None for all others."""
    layout = _layout(tuple([name for name, _ in headers]))
    if layout is None:
        return None
    values: list[bytes | None] = [value for _, value in headers]
    if None in values:
        return None
    # Where -1 leads.
    values.append(None)
    spec, content, id_, source, type_, time, process, cause, key, deadline, try_, undoes, trace = layout(values)
    if spec != b"1.0" or content != b"application/json" or not id_ or not source or not type_:
        return None
    if len(id_) > ATTRIBUTE_LENGTH_MAX or len(source) > ATTRIBUTE_LENGTH_MAX:
        return None
    try:
        return _made(
            (
                id_.decode(),
                source.decode(),
                type_.decode(),
                # Empty is not absent for the time alone, which nothing here reads.
                None if time is None else time.decode(),
                process.decode() if process else None,
                cause.decode() if cause else None,
                key.decode() if key else None,
                _checked_time(deadline.decode()) if deadline else None,
                _checked_number(try_.decode()) if try_ else None,
                tuple([part for part in undoes.decode().split(",") if part]) if undoes else (),
                trace.decode() if trace else None,
                NO_EXTENSIONS,
            )
        )
    except (UnicodeDecodeError, EnvelopeError):
        return None


def decode_carefully(headers: Headers) -> Envelope:
    """The rules of reading, one header at a time; `decode_headers` gives the same answer, faster where it can.

    Raises:
        EnvelopeError.
    """
    found: dict[str, str] = {}
    extensions: dict[str, str] = {}
    for header, value in headers:
        attribute = _ATTRIBUTES.get(header)
        if attribute is None:
            lowered = header.lower()
            attribute = _ATTRIBUTES.get(lowered)
            if attribute is None:
                if lowered.startswith("ce_"):
                    extensions[lowered[3:]] = _text(header, attribute, value)
                continue
        found[attribute] = _text(header, attribute, value)
    _check_required(found)
    get = found.get
    undoes = get("undoes")
    return Envelope(
        found["id"],
        found["source"],
        found["type"],
        get("time"),
        get("processid") or None,
        get("causationid") or None,
        get("idempotencykey") or None,
        _checked_time(get("deadline")),
        _checked_number(get("try")),
        tuple(part for part in undoes.split(",") if part) if undoes else (),
        get("traceparent") or None,
        extensions or NO_EXTENSIONS,
    )


def _text(header: str, attribute: str | None, value: bytes | None) -> str:
    """Raises EnvelopeError if it is not UTF-8; a trace context that is not is as good as none."""
    try:
        return value.decode() if value is not None else ""
    except UnicodeDecodeError:
        if attribute == "content-type":
            raise EnvelopeError("wrong-content-type", "header content-type is not UTF-8") from None
        if attribute == "traceparent":
            return ""
        raise EnvelopeError("bad-attribute", f"header {header} is not UTF-8") from None


def _check_required(found: dict[str, str]) -> None:
    for name in ("specversion", "id", "source", "type"):
        if not found.get(name):
            raise EnvelopeError("missing-attribute", f"header ce_{name} is missing or empty")
    if found["specversion"] != "1.0":
        raise EnvelopeError("wrong-specversion", f"ce_specversion is {found['specversion']!r}, not '1.0'")
    for name in ("id", "source"):
        if len(found[name]) > ATTRIBUTE_LENGTH_MAX:
            raise EnvelopeError("bad-attribute", f"ce_{name} is longer than {ATTRIBUTE_LENGTH_MAX} characters")
    content_type = found.get("content-type")
    if (
        content_type is not None
        and content_type != CONTENT_TYPE
        and content_type.split(";", 1)[0].strip().lower() != CONTENT_TYPE
    ):
        raise EnvelopeError("wrong-content-type", f"content-type is {content_type!r}, not {CONTENT_TYPE!r}")


def _checked_time(text: str | None) -> str | None:
    if text:
        parse_time(text)
    return text or None


def _checked_number(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise EnvelopeError("bad-attribute", f"ce_try is {text!r}, not a whole number")
    return int(text)


def format_time(at_ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 UTC, e.g. `2026-01-31T09:30:00.250Z`."""
    text = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{at_ms % 1000:03d}Z"


TIMES_MAX = 4_096
"""Parsed times kept: a deadline is read several times on its way, and many commands share one."""
RFC3339_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
"""`datetime.fromisoformat` takes more of ISO 8601 (week dates, no separators) than RFC 3339 has."""


@lru_cache(maxsize=TIMES_MAX)
def parse_time(text: str) -> int:
    """RFC 3339 as milliseconds since the epoch. Raises EnvelopeError (`bad-attribute`) otherwise."""
    if not RFC3339_PATTERN.fullmatch(text):
        raise EnvelopeError("bad-attribute", f"{text!r} is not an RFC 3339 time")
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        raise EnvelopeError("bad-attribute", f"{text!r} is not an RFC 3339 time") from None
    return round(at.timestamp() * 1000)
