"""`builder-makes`: a command step and an undo make a command, an emit and `returns` an event, a subsaga the event that
starts its child, a predicate a bool, and `sleep_until` a datetime."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from datetime import datetime

from contracts.message import Command, Event, Message
from orchestrator.language.blocks import CommandStep, Returns, Subsaga
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Call, Role, Subject

RULE = "builder-makes"
RETURNS: dict[Role, type] = {"predicate": bool, "until": bool, "moment": datetime}


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        if subject.problem(call) is not None:
            continue
        if call.role in RETURNS:
            yield from _returns(subject, call, RETURNS[call.role])
        elif call.role in ("builder", "undo"):
            yield from _makes(subject, call)


def _returns(subject: Subject, call: Call, wanted: type) -> Iterator[Finding]:
    found = typing.get_type_hints(call.builder).get("return")
    if found is not wanted:
        said = "nothing" if found is None else getattr(found, "__name__", str(found))
        message = f"{call.name} says that it returns {said}, but {wanted.__name__} is needed here"
        yield subject.at_builder(RULE, call, message, f"write def {call.name}(...) -> {wanted.__name__}")


def _makes(subject: Subject, call: Call) -> Iterator[Finding]:
    made = subject.makes(call.builder)
    if isinstance(call.step, Subsaga) and call.role == "builder":
        starts = call.step.child.starts_on
        if made is not None and made is not starts:
            message = f"{call.name} makes {made.__name__}, but {call.step.child.name} starts on {starts.__name__}"
            yield subject.at_builder(RULE, call, message, f"write def {call.name}(...) -> {starts.__name__}")
        return
    wanted: type[Message] = Command if isinstance(call.step, CommandStep) or call.role == "undo" else Event
    if made is not None and not issubclass(made, wanted):
        kind, block = ("command", "an undo" if call.role == "undo" else "command(...)")
        if wanted is Event:
            kind, block = "event", "returns=" if isinstance(call.step, Returns) else "emit(...)"
        yield subject.at_builder(
            RULE,
            call,
            f"{call.name} makes {made.__name__}, which is not {'an' if wanted is Event else 'a'} {kind}",
            f"return a class that is declared as {wanted.__name__}, as {block} needs it",
        )
