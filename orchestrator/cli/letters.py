"""Dead letters as values: the original record, and why it was given up. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import typer

from contracts.envelope import EnvelopeError, format_time, parse_time
from contracts.record import Headers, IncomingRecord, OutgoingRecord
from contracts.topics import dead_letters_topic, replays_topic
from orchestrator.cli.failures import Usage
from orchestrator.cli.options import parse_duration

SUFFIX = dead_letters_topic("")
_ADDRESS = re.compile(r"^(?P<topic>[A-Za-z0-9._-]+?)[-/](?P<partition>\d{1,6})[-/](?P<offset>\d{1,18})$")


@dataclass(frozen=True, slots=True)
class Letter:
    """`address` names it on the command line. `origin` is where the record was that was given up."""

    record: IncomingRecord
    reason: str
    detail: str
    type: str | None
    service: str
    at: str

    @property
    def address(self) -> str:
        return f"{self.record.topic}-{self.record.partition}-{self.record.offset}"

    @property
    def origin(self) -> str:
        headers = _texts(self.record.headers)
        return "-".join(headers.get(name, "?") for name in ("dl_topic", "dl_partition", "dl_offset"))

    @property
    def key(self) -> str | None:
        return None if self.record.key is None else self.record.key.decode(errors="replace")


def read_letter(record: IncomingRecord) -> Letter:
    headers = _texts(record.headers)
    return Letter(
        record=record,
        reason=headers.get("dl_reason", "?"),
        detail=headers.get("dl_detail", ""),
        type=headers.get("ce_type"),
        service=headers.get("dl_service", record.topic.removesuffix(SUFFIX)),
        at=headers.get("dl_at", format_time(record.timestamp_ms)),
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """None leaves a criterion out. Times are when the letter was appended, milliseconds since the epoch: not before
    `since_ms`, and before `until_ms`."""

    service: str | None = None
    reason: str | None = None
    type: str | None = None
    key: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        pairs = (
            (self.service, letter.service),
            (self.reason, letter.reason),
            (self.type, letter.type),
            (self.key, letter.key),
        )
        at_ms = letter.record.timestamp_ms
        if self.since_ms is not None and at_ms < self.since_ms:
            return False
        if self.until_ms is not None and at_ms >= self.until_ms:
            return False
        return all(wanted is None or wanted == found for wanted, found in pairs)


def newest_first(records: Iterable[IncomingRecord], wanted: Filter, limit: int) -> list[Letter]:
    letters = [letter for letter in map(read_letter, records) if wanted.takes(letter)]
    letters.sort(key=lambda one: (one.record.timestamp_ms, one.record.offset), reverse=True)
    return letters[:limit]


def parse_moment(text: str, now_ms: int) -> int:
    """`2h` (so long ago) or an RFC 3339 time, as milliseconds since the epoch. Raises Usage."""
    try:
        return now_ms - parse_duration(text)
    except typer.BadParameter:
        pass
    try:
        return parse_time(text)
    except EnvelopeError:
        raise Usage(f"{text!r} is neither a time span (90s, 5m, 2h, 1d) nor a time as 2026-01-01T00:00:00Z") from None


def replay_of(letter: Letter) -> OutgoingRecord:
    """The letter as it is, with the headers that say where it came from, for the one service that gave it up."""
    record = letter.record
    return OutgoingRecord(
        replays_topic(record.topic.removesuffix(SUFFIX)), record.key, record.value or b"", record.headers
    )


def parse_address(text: str) -> tuple[str, int, int]:
    """`payment.dead-letters-3-17` (or with slashes) as topic, partition, offset. Raises Usage."""
    found = _ADDRESS.match(text)
    if found is None:
        raise Usage(f"{text!r} names no dead letter; write topic-partition-offset, as `dead-letters list` shows it")
    if not found["topic"].endswith(SUFFIX):
        raise Usage(f"{found['topic']} is not a dead-letter topic")
    return found["topic"], int(found["partition"]), int(found["offset"])


def letter_json(letter: Letter) -> dict[str, Any]:
    """As `dead-letters list --json` prints it."""
    return {
        "address": letter.address,
        "topic": letter.record.topic,
        "partition": letter.record.partition,
        "offset": letter.record.offset,
        "at": letter.at,
        "service": letter.service,
        "reason": letter.reason,
        "detail": letter.detail,
        "type": letter.type,
        "key": letter.key,
        "origin": letter.origin,
    }


def full_json(letter: Letter) -> dict[str, Any]:
    """As `dead-letters show --json` prints it: with the original headers and value."""
    value, encoding = readable(letter.record.value or b"")
    headers = [[name, text] for name, text in original_headers(letter.record.headers)]
    return letter_json(letter) | {"headers": headers, "value": value, "value_encoding": encoding}


def original_headers(headers: Headers) -> Sequence[tuple[str, str]]:
    """Without those that say why it was given up."""
    return [(name, text) for name, text in _pairs(headers) if not name.startswith("dl_")]


def readable(value: bytes) -> tuple[Any, str]:
    """The value as JSON if it is that, else as text, else in base64; and which of these (`json`, `text`, `base64`)."""
    try:
        return orjson.loads(value), "json"
    except orjson.JSONDecodeError:
        pass
    try:
        return value.decode(), "text"
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), "base64"


def _texts(headers: Headers) -> dict[str, str]:
    return dict(_pairs(headers))


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return [(name, value.decode(errors="replace")) for name, value in headers]
