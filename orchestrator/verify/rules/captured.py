"""`not-captured`: what a builder or predicate demands is captured on every path that reaches it.

Guaranteed is the start event, the element of an enclosing `for_each`, and the success of a step that must have
succeeded before: in every branch of a choice that has an `otherwise`, in every alternative of a fallback, in a round of
a repeat. A refusal never is: the step that was refused has failed (or was tried again), and a process may be undone for
another reason. A step of a parallel sibling may still be under way, a later one has not begun, and of the step's own
outcome its builder cannot know. An optional parameter may be absent, but something must be able to yield it.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.message import Message
from orchestrator.language.blocks import CommandStep, Parallel
from orchestrator.language.flow import Choice, Fallback
from orchestrator.language.injection import Ending, Stuck
from orchestrator.language.signature import Parameter
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.rules.injected_shape import step_of_elements
from orchestrator.verify.subject import Call, Subject

RULE = "not-captured"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            if parameter.wants in (Ending, Stuck) or _known_otherwise(subject, call, parameter):
                continue
            problem = _problem(subject, call, parameter)
            if problem is not None:
                message, fix = problem
                name = f"{call.name} wants {parameter.wants.__name__} ({parameter.name})"
                yield subject.at_builder(RULE, call, f"{name}, {message}", fix)


def _known_otherwise(subject: Subject, call: Call, parameter: Parameter) -> bool:
    """The start event and an element are always there; an undo's own outcome, a wrong `From` and a wrong shape have
    their own rules."""
    if subject.takes_start(parameter) or subject.element_loop(call, parameter) is not None:
        return True
    producers = subject.producers(parameter.wants, parameter.source)
    if call.role == "undo" and call.own in producers:
        return True
    wrong_shape = not parameter.many and step_of_elements(subject, call, parameter) is not None
    return wrong_shape or (parameter.source is not None and not producers)


def _problem(subject: Subject, call: Call, parameter: Parameter) -> tuple[str, str] | None:
    wants = parameter.wants.__name__
    producers = subject.producers(parameter.wants, parameter.source)
    if not producers and not issubclass(parameter.wants, Message):
        return (
            "but no step or wait of the saga yields it, and no for_each around it has such elements",
            f"move it into the for_each whose elements are {wants}, or take a message that has what it needs",
        )
    if not producers:
        return (
            "but no step of the saga yields it",
            "take it from the start event or from a step whose command names it as an outcome",
        )
    possible = tuple(name for name in producers if name in call.possible)
    if not possible:
        fix = f"move the step after {' or '.join(producers)}, or do without {wants}"
        return f"but {_why_absent(subject, call, producers)}", fix
    if parameter.optional or parameter.many or _guaranteed(subject, call, parameter, producers):
        return None
    absence = f"declare it as {wants} | None and build without it"
    if all(_only_refusal(subject, name, parameter) for name in possible):
        return f"but a refusal is never certain (it answers {', '.join(possible)})", absence
    if call.spot.cancelled or call.spot.alerting or call.role == "undo":
        return f"but {', '.join(possible)} may not have succeeded with it by then", absence
    beside = [name for name in possible if isinstance(subject.block_between(call, name), Parallel)]
    if beside:
        return (
            f"but {', '.join(beside)} runs beside it and may not have succeeded yet",
            f"place it after the parallel block, or {absence}",
        )
    return (
        f"but {', '.join(possible)} may not have succeeded with it by then",
        f"{absence}, or let every branch and every alternative yield it",
    )


def _guaranteed(subject: Subject, call: Call, parameter: Parameter, producers: tuple[str, ...]) -> bool:
    return subject.is_certain(
        call, lambda step: step.name in producers and subject.always_yields(step, parameter.wants)
    )


def _only_refusal(subject: Subject, name: str, parameter: Parameter) -> bool:
    step = subject.source(name)
    made = subject.command(step) if isinstance(step, CommandStep) else None
    return made is not None and parameter.wants not in made.succeeds


def _why_absent(subject: Subject, call: Call, producers: tuple[str, ...]) -> str:
    if call.own in producers:
        return "that is the step's own outcome, which is not there when its command is built"
    between = subject.block_between(call, producers[0])
    if isinstance(between, Choice) and between is not call.spot.block:
        return f"{', '.join(producers)} is in another branch of the choice"
    if isinstance(between, Fallback):
        return f"{', '.join(producers)} is in another alternative of the fallback"
    return f"{', '.join(producers)} only begins after it"
