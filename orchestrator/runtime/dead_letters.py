"""What happens to a record that cannot be processed: it goes to `orchestrator.dead-letters` as it came, with the
reason.

The reasons are a closed set, documented in docs/protocol.md; they label a metric.
"""

from __future__ import annotations

from typing import Literal, get_args

from contracts.envelope import format_time
from contracts.record import Headers, IncomingRecord, OutgoingRecord
from contracts.topics import ORCHESTRATOR_DEAD_LETTERS

DETAIL_LENGTH_MAX = 1_000
"""Characters of `dl_detail`; an exception's text may be of any length."""
SERVICE = b"orchestrator"

RouterReason = Literal[
    "missing-attribute",
    "bad-attribute",
    "wrong-specversion",
    "wrong-content-type",
    "missing-value",
    "invalid-json",
    "invalid-payload",
    "key-mismatch",
    "reserved-type",
    "bad-process-id",
    "key-failed",
    "too-large",
]
"""Why the router gives a record up. The first four are the codes of an EnvelopeError."""
EngineReason = Literal["missing-key", "bad-key", "bad-stamp", "never-started", "too-old"]
"""Why the engine gives an inbox record up, beside the codes of an EnvelopeError and `missing-value`. Such a record was
appended by a stranger: the router appends only what it has decoded. `never-started`: engine/early.py;
`too-old`: engine/expiry.py."""
DEAD_LETTER_REASONS: frozenset[str] = frozenset((*get_args(RouterReason), *get_args(EngineReason)))


def dead_letter(record: IncomingRecord, reason: str, detail: str, at_ms: int) -> OutgoingRecord:
    """The record to publish: original key, value and headers, and the `dl_*` headers of this failure alone.

    A null value becomes an empty one. `at_ms`: when it was given up, milliseconds since the epoch.
    """
    headers: Headers = (
        *without_prefixes(record.headers, ("dl_",)),
        ("dl_reason", reason.encode()),
        ("dl_detail", detail[:DETAIL_LENGTH_MAX].encode(errors="replace")),
        ("dl_topic", record.topic.encode()),
        ("dl_partition", b"%d" % record.partition),
        ("dl_offset", b"%d" % record.offset),
        ("dl_service", SERVICE),
        ("dl_at", format_time(at_ms).encode()),
    )
    return OutgoingRecord(ORCHESTRATOR_DEAD_LETTERS, record.key, record.value or b"", headers)


def without_prefixes(headers: Headers, prefixes: tuple[str, ...]) -> Headers:
    """The headers whose names do not start with one of the prefixes; the same object if there are none."""
    if not any(name.startswith(prefixes) for name, _ in headers):
        return headers
    return tuple(pair for pair in headers if not pair[0].startswith(prefixes))
