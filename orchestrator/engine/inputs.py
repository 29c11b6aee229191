"""Reading an inbox record as an input."""

from __future__ import annotations

from contracts.envelope import Envelope, EnvelopeError, decode_headers
from contracts.record import IncomingRecord
from orchestrator.engine.process import Value

SAGA_HEADER = "cp_saga"
VERSION_HEADER = "cp_version"
"""Stamped by the router on an input that may start a process."""
AT_HEADER = "cp_at"
"""Stamped with them: when the record was appended to its own topic, in milliseconds since the epoch."""


VERSION_DIGITS_MAX = 9
AT_DIGITS_MAX = 15


class InputError(ValueError):
    """The inbox record is not an input. `code` is one of a closed set, fit for a metric's label."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Input(Value, frozen=True):
    """Something that can change a process, in the order of the log."""

    offset: int
    at_ms: int
    """The broker's append time."""
    process_id: str
    envelope: Envelope
    data: bytes
    saga: str | None = None
    version: int | None = None
    origin_at_ms: int | None = None


def read_input(record: IncomingRecord) -> Input:
    """Raises InputError: `missing-key`, `missing-value`, `bad-stamp`, or the code of an EnvelopeError."""
    if not record.key:
        raise InputError("missing-key", "an inbox record is keyed by process id")
    if record.value is None:
        raise InputError("missing-value", "an inbox record has a value")
    try:
        envelope = decode_headers(record.headers)
        process_id = record.key.decode()
    except EnvelopeError as error:
        raise InputError(error.code, error.detail) from error
    except UnicodeDecodeError:
        raise InputError("bad-key", "the key is not UTF-8") from None
    saga = version = origin_at_ms = None
    for name, value in record.headers:
        if name == SAGA_HEADER:
            saga = (value or b"").decode(errors="replace")
        elif name == VERSION_HEADER:
            if not (value or b"").isdigit() or len(value) > VERSION_DIGITS_MAX:
                raise InputError("bad-stamp", f"header {VERSION_HEADER} is not a number")
            version = int(value)
        elif name == AT_HEADER:
            if not (value or b"").isdigit() or len(value) > AT_DIGITS_MAX:
                raise InputError("bad-stamp", f"header {AT_HEADER} is not a time")
            origin_at_ms = int(value)
    return Input(record.offset, record.timestamp_ms, process_id, envelope, record.value, saga, version, origin_at_ms)
