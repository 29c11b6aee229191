"""The closed set of reasons for which a record goes to dead letters. Public: header `dl_reason` and metric label."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """`docs/decisions/0021-dead-letter-reasons.md` says what an operator does about each."""

    MISSING_ATTRIBUTE = "missing-attribute"
    """A required CloudEvents header is absent or empty."""
    BAD_ATTRIBUTE = "bad-attribute"
    """A CloudEvents header cannot be read (not UTF-8, not a time, not a number, too long)."""
    WRONG_SPECVERSION = "wrong-specversion"
    WRONG_CONTENT_TYPE = "wrong-content-type"
    INVALID_JSON = "invalid-json"
    """No value, or one that is not JSON."""
    CONTRACT_VIOLATION = "contract-violation"
    """JSON, but not what the type's contract says."""
    KEY_MISMATCH = "key-mismatch"
    """The record has a key and it differs from the payload's first field."""
    UNKNOWN_COMMAND = "unknown-command"
    """A command of this service's context that this service does not handle."""
    TOO_OLD = "too-old"
    """Older than the dedupe retention: whether it was executed before cannot be known any more."""
    ID_CONFLICT = "id-conflict"
    """The id of an earlier message, with another type or payload."""
    HANDLER_FAILED = "handler-failed"
    """The handler failed after all retries and nobody else takes care of it (an event, or a command of no process)."""
    UNFINISHED = "unfinished"
    """An earlier execution started, its end is unknown, and the handler may not be repeated."""


ENVELOPE_REASONS = {
    "missing-attribute": Reason.MISSING_ATTRIBUTE,
    "bad-attribute": Reason.BAD_ATTRIBUTE,
    "wrong-specversion": Reason.WRONG_SPECVERSION,
    "wrong-content-type": Reason.WRONG_CONTENT_TYPE,
}
"""By `EnvelopeError.code`."""


class Code(StrEnum):
    """The codes of `counterpoint.command-failed.v1` that the SDK itself uses; a handler adds its own."""

    DEADLINE_EXCEEDED = "deadline-exceeded"
    UNDONE = "undone"
    """An undo that covers this command came first."""
    INVALID_COMMAND = "invalid-command"
    UNKNOWN_COMMAND = "unknown-command"
    TOO_OLD = "too-old"
    UNFINISHED = "unfinished"
    HANDLER_FAILED = "handler-failed"
    """An exception of the handler's that is neither NotDone nor Unknown."""
    TIMED_OUT = "timed-out"
    """The handler took longer than its time limit."""
    BROKEN_HANDLER = "broken-handler"
    """The handler returned something that its contract does not allow."""


class Result(StrEnum):
    """How the handling of one message ended: the metric label `result`."""

    SUCCESS = "success"
    REFUSAL = "refusal"
    REACTION = "reaction"
    """An event was handled."""
    FAILED_NONE = "failed-none"
    FAILED_UNKNOWN = "failed-unknown"
    DEAD_LETTER = "dead-letter"
    REPEAT = "repeat"
    """A duplicate: its stored outcome was published again."""
