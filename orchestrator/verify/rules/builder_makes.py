"""`builder-makes`: a command step and an undo make a command, an emit makes an event."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.message import Command, Event, Message
from orchestrator.language.blocks import CommandStep
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "builder-makes"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        made = subject.makes(call.builder)
        wanted: type[Message] = Command if isinstance(call.step, CommandStep) else Event
        if made is not None and not issubclass(made, wanted):
            kind, block = ("command", "an undo" if call.role == "undo" else "command(...)")
            if wanted is Event:
                kind, block = "event", "emit(...)"
            yield subject.at_builder(
                RULE,
                call,
                f"{call.name} makes {made.__name__}, which is not {'an' if wanted is Event else 'a'} {kind}",
                f"return a class that is declared as {wanted.__name__}, as {block} needs it",
            )
