"""`injected-shape`: what happened once for each element is injected as a tuple, and everything else by itself.

Inside a `for_each` a builder sees its own element's outcomes; after it, and beside it, those of all elements.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.injection import Ending, Stuck
from orchestrator.language.signature import Parameter
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Call, Subject

RULE = "injected-shape"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            wants = f"{call.name} wants"
            plain, many = parameter.wants.__name__, f"tuple[{parameter.wants.__name__}, ...]"
            if parameter.many and _is_single(subject, call, parameter):
                message = f"{wants} {many} ({parameter.name}), but there is one {plain} here"
                yield subject.at_builder(RULE, call, message, f"declare it as {parameter.name}: {plain}")
            step = None if parameter.many else step_of_elements(subject, call, parameter)
            if step is not None:
                loop = subject.loop_between(call, step)
                assert loop is not None
                message = f"{wants} one {plain} ({parameter.name}), but {step} happens for each element of {loop.name}"
                fix = f"declare it as {parameter.name}: {many}; the outcomes are in element order"
                yield subject.at_builder(RULE, call, message, fix)


def _is_single(subject: Subject, call: Call, parameter: Parameter) -> bool:
    element = subject.element_loop(call, parameter) is not None
    return element or parameter.wants in (Ending, Stuck) or subject.takes_start(parameter)


def step_of_elements(subject: Subject, call: Call, parameter: Parameter) -> str | None:
    """A step that may have yielded the value for several elements."""
    if _is_single(subject, call, parameter):
        return None
    producers = subject.producers(parameter.wants, parameter.source)
    if call.role == "undo" and call.own in producers:
        return None
    return next((name for name in producers if name in call.possible and subject.loop_between(call, name)), None)
