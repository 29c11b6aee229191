"""From a message class to its JSON Schema: deterministic, and with the facts that pydantic does not know.

Those facts are annotations that validators ignore: `x-kind`, `x-topic`, `x-key` (the field that is the Kafka key), and
for commands `x-succeeds` and `x-refuses`, the types of the outcomes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from contracts.message import Command, Message
from contracts.process import (
    ApprovalGiven,
    CancelChild,
    CancelRequested,
    ChildEnded,
    MigrationRequested,
    OperatorAction,
    ReleaseChild,
    SignalSent,
    StartChild,
    TimerFired,
    UndoChild,
)
from contracts.technical import CommandFailed
from contracts.topics import INBOX

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_ELSEWHERE: dict[type[Message], Schema] = {
    CommandFailed: {"x-topic": "the <context>.events of the command", "x-key": "the key of the command"},
    SignalSent: {"x-topic": INBOX},
    ApprovalGiven: {"x-topic": INBOX},
    CancelRequested: {"x-topic": INBOX},
    MigrationRequested: {"x-topic": INBOX},
    OperatorAction: {"x-topic": INBOX},
    TimerFired: {"x-topic": INBOX},
    StartChild: {"x-topic": INBOX},
    CancelChild: {"x-topic": INBOX},
    UndoChild: {"x-topic": INBOX},
    ReleaseChild: {"x-topic": INBOX},
    ChildEnded: {"x-topic": INBOX},
}
"""Where the general rule (`<context>.events`, keyed by the first field) does not hold."""


def schema_of(message: type[Message]) -> Schema:
    """What a reader accepts: optional fields may be absent (or null), unknown ones are allowed."""
    generated = message.model_json_schema(mode="validation")
    facts: Schema = {
        "$schema": DIALECT,
        "$id": f"urn:counterpoint:{message.type}",
        "x-kind": "command" if issubclass(message, Command) else "event",
        "x-topic": message.topic,
        "x-key": next(iter(message.model_fields)),
    }
    if issubclass(message, Command):
        facts["x-succeeds"] = [event.type for event in message.succeeds]
        facts["x-refuses"] = [event.type for event in message.refuses]
    return facts | _ELSEWHERE.get(message, {}) | generated


def render(schema: Schema) -> bytes:
    """Equal schemas give equal bytes."""
    return json.dumps(schema, indent=2, ensure_ascii=False).encode() + b"\n"


def schema_files(messages: Iterable[type[Message]]) -> dict[str, bytes]:
    """File name to content, by type."""
    return {f"{m.type}.json": render(schema_of(m)) for m in sorted(messages, key=lambda m: m.type)}
