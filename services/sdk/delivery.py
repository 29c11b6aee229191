"""What a handler may know about the message beyond its payload."""

from __future__ import annotations

import msgspec


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """Injected into a handler that asks for it by type."""

    id: str
    source: str
    type: str
    idempotency_key: str
    """Pass this to the provider. The message's own key, or `<source> <id>` where it has none."""
    process_id: str | None
    undoes: tuple[str, ...]
    """The command ids that this undo covers; their idempotency keys are the same strings."""
    try_number: int | None
    deadline: str | None
    """RFC 3339, as in `ce_deadline`."""
    topic: str
    partition: int
    offset: int
    attempt: int
    """1 for the first execution in this OS process, 2 for its first retry, and so on."""
    unfinished: bool
    """An earlier execution or attempt started and its end is not known: repeat with the same key, or ask."""
    received_at_ms: int
    """When the broker appended the record, milliseconds since the epoch."""
