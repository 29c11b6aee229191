"""`undo-may-be-refused`: an undo's command names no refusal; a participant that cannot undo more answers success."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.message import Command
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "undo-may-be-refused"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        made = subject.makes(call.builder)
        if call.role == "undo" and made is not None and issubclass(made, Command) and made.refuses:
            refusals = ", ".join(event.__name__ for event in made.refuses)
            yield subject.at_builder(
                RULE,
                call,
                f"{call.name} makes {made.__name__}, which may be refused by {refusals}",
                "undo with a command whose contract has no refuses=",
            )
