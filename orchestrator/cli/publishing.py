"""What `publish` sends, checked against the contract before anything is sent. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from contracts.catalog import CONTEXTS, Catalog
from contracts.envelope import ATTRIBUTE_LENGTH_MAX, Envelope, encode_headers, format_time
from contracts.message import Message
from contracts.record import Headers, OutgoingRecord
from contracts.topics import MESSAGE_BYTES_MAX
from orchestrator.cli.failures import Refused

RECORD_OVERHEAD_BYTES = 512
"""What a record needs beside key, value and headers, generously (the broker counts a batch of one)."""
SUGGESTIONS_MAX = 3


@dataclass(frozen=True, slots=True)
class Attributes:
    """CloudEvents attributes of what is published."""

    id: str
    source: str
    time_ms: int
    key: str | None = None
    """Must be the payload's, if it is given."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that may be sent. `dropped`: fields that the contract does not know, which are left out."""

    id: str
    source: str
    type: str
    key: str
    record: OutgoingRecord
    dropped: tuple[str, ...]


def message_type(catalog: Catalog, name: str) -> type[Message]:
    """Raises Refused: no such type (with near names), or one that nobody may publish by hand."""
    found = catalog.get(name)
    if found is None:
        known = sorted(message.type for message in catalog)
        near = difflib.get_close_matches(name, known, n=SUGGESTIONS_MAX, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; known are {', '.join(known)}"
        raise Refused(f"there is no message type {name}{hint}")
    if name.split(".", 1)[0] not in CONTEXTS:
        raise Refused(f"{name} is the system's own; only it may publish that")
    return found


def draft(kind: type[Message], payload: bytes, attributes: Attributes) -> Draft:
    """Raises Refused, with one detail a wrong field."""
    _check_size(len(payload), "the payload")
    try:
        message = kind.model_validate_json(payload)
    except ValidationError as error:
        details = tuple(f"{_place(one['loc'])}: {one['msg']}" for one in error.errors())
        raise Refused(f"this is no {kind.type}; nothing was sent", details) from None
    if attributes.key is not None and attributes.key != message.key:
        raise Refused(
            f"--key is {attributes.key!r}, but the payload's {next(iter(kind.model_fields))} is {message.key!r};"
            " nothing was sent"
        )
    for name, value in (("--id", attributes.id), ("--source", attributes.source)):
        if not 1 <= len(value) <= ATTRIBUTE_LENGTH_MAX:
            raise Refused(f"{name} must have 1 to {ATTRIBUTE_LENGTH_MAX} characters; nothing was sent")
    envelope = Envelope(
        id=attributes.id, source=attributes.source, type=kind.type, time=format_time(attributes.time_ms)
    )
    record = OutgoingRecord(kind.topic, message.key.encode(), message.to_json(), encode_headers(envelope))
    size = len(record.key or b"") + len(record.value) + _headers_size(record.headers) + RECORD_OVERHEAD_BYTES
    _check_size(size, "the message with its headers")
    return Draft(envelope.id, envelope.source, kind.type, message.key, record, _unknown(kind, payload))


def split_lines(payload: bytes) -> tuple[bytes, ...]:
    """JSON Lines: one message a line; blank lines do not count. Raises Refused: there is none."""
    lines = tuple(line for line in payload.splitlines() if line.strip())
    if not lines:
        raise Refused("there is no message in the input; nothing was sent")
    return lines


def _place(location: Sequence[int | str]) -> str:
    """`lines[0].quantity`; the whole message has no place."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the message"


def _unknown(kind: type[Message], payload: bytes) -> tuple[str, ...]:
    given = json.loads(payload)
    return tuple(sorted(given.keys() - kind.model_fields.keys()))


def _check_size(size: int, what: str) -> None:
    if size > MESSAGE_BYTES_MAX:
        raise Refused(
            f"{what} has {size:,} bytes, but the broker takes {MESSAGE_BYTES_MAX:,} (1 MiB); nothing was sent"
        )


def _headers_size(headers: Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)
