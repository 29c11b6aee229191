"""`builder-signature`: a builder, predicate, or function of elements is a plain function with usable types.

The engine passes parameters by name, calls once and takes what is returned: no `async def`, no generator, no
positional-only parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Call, Subject

RULE = "builder-signature"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        problem = _problem(subject, call)
        if problem is not None:
            fix = (
                "write a plain function: def name(value: MessageType, other: OtherType | None) -> MessageType; "
                "a parameter is a message class, that or None, a tuple[MessageType, ...], an element, Ending or Stuck"
            )
            yield subject.at_builder(RULE, call, problem, fix)


def _problem(subject: Subject, call: Call) -> str | None:
    name, problem = call.name, subject.problem(call)
    if problem is not None:
        return problem
    if not inspect.isfunction(call.builder):
        return f"{name} is not a function defined with def"
    if inspect.iscoroutinefunction(call.builder) or inspect.isgeneratorfunction(call.builder):
        return f"{name} is called once and must return the message itself: no async, no yield"
    if any(p.kind is p.POSITIONAL_ONLY for p in inspect.signature(call.builder).parameters.values()):
        return f"{name} has a positional-only parameter, but parameters are injected by name"
    return None
