"""`unhandled-command`: every command, undos too, is handled by exactly one service, which publishes its outcomes."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.message import Command
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Call, Subject

RULE = "unhandled-command"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    if handlers.known is None:
        return
    for call in subject.calls:
        made = subject.makes(call.builder)
        if made is not None and issubclass(made, Command):
            yield from _check(subject, handlers, call, made)


def _check(subject: Subject, handlers: Handlers, call: Call, made: type[Command]) -> Iterator[Finding]:
    found = handlers.of(made.type)
    regenerate = "and write contracts/handlers.json anew (python -m services --write-handlers)"
    if not found:
        message = f"{call.name} sends {made.type}, which no service handles"
        fix = f"add a handler for it to a service {regenerate}; until there is one: verify --without-services"
        yield subject.at_builder(RULE, call, message, fix)
    elif len(found) > 1:
        names = ", ".join(handler.service for handler in found)
        message = f"{call.name} sends {made.type}, which {names} would all carry out"
        yield subject.at_builder(RULE, call, message, f"leave it to one service {regenerate}")
    else:
        silent = [event.type for event in made.succeeds + made.refuses if event.type not in found[0].publishes]
        if silent:
            message = f"{found[0].service} handles {made.type}, but never answers with {', '.join(silent)}"
            fix = f"let the handler return all outcomes that the command names {regenerate}"
            yield subject.at_builder(RULE, call, message, fix)
