"""`not-captured`: what a builder demands is captured on every path that reaches it.

Guaranteed is the start event, and the success of every step that must have succeeded before. A refusal never is: the
step that was refused has failed (or was tried again), and a process may be undone for another reason. A step of a
parallel sibling may still be under way, a later one has not begun, and of the step's own outcome its builder cannot
know. An optional parameter may be absent, but something must be able to yield it.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.injection import Ending
from orchestrator.language.signature import Parameter
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Call, Subject

RULE = "not-captured"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            if parameter.wants is Ending or _known_otherwise(subject, call, parameter):
                continue
            problem = _problem(subject, call, parameter)
            if problem is not None:
                message, fix = problem
                name = f"{call.name} wants {parameter.wants.__name__} ({parameter.name})"
                yield subject.at_builder(RULE, call, f"{name}, {message}", fix)


def _known_otherwise(subject: Subject, call: Call, parameter: Parameter) -> bool:
    """The start event is always there; an undo's own outcome and a wrong `From` have their own rules."""
    if parameter.source is None:
        is_own = call.role == "undo" and call.step.name in subject.producers(parameter.wants)
        return parameter.wants is subject.saga.starts_on or is_own
    source = subject.step(parameter.source)
    own = call.role == "undo" and parameter.source == call.step.name
    return own or source is None or not subject.yields(source, parameter.wants)


def _problem(subject: Subject, call: Call, parameter: Parameter) -> tuple[str, str] | None:
    producers = subject.producers(parameter.wants)
    if parameter.source is not None:
        producers = (parameter.source,)
    if not producers:
        return (
            "but no step of the saga yields it",
            "take it from the start event or from a step whose command names it as an outcome",
        )
    possible = tuple(name for name in producers if name in call.possible)
    if not possible:
        return (
            f"but {_why_absent(call, producers)}",
            f"move the step after {' or '.join(producers)}, or do without {parameter.wants.__name__}",
        )
    if parameter.optional or _guaranteed(subject, call, parameter, producers):
        return None
    absence = f"declare it as {parameter.wants.__name__} | None and build without it"
    if all(_only_refusal(subject, name, parameter) for name in possible):
        return f"but a refusal is never certain (it answers {', '.join(possible)})", absence
    beside = [name for name in possible if name not in call.spot.guaranteed]
    if beside and not call.spot.cancelled and call.role == "builder":
        return (
            f"but {', '.join(beside)} runs beside it and may not have succeeded yet",
            f"place it after the parallel block, or {absence}",
        )
    return f"but {', '.join(possible)} may not have succeeded with it by then", absence


def _guaranteed(subject: Subject, call: Call, parameter: Parameter, producers: tuple[str, ...]) -> bool:
    steps = (subject.step(name) for name in producers if name in call.spot.guaranteed)
    return any(step is not None and subject.always_yields(step, parameter.wants) for step in steps)


def _only_refusal(subject: Subject, name: str, parameter: Parameter) -> bool:
    step = subject.step(name)
    made = None if step is None else subject.command(step)
    return made is not None and parameter.wants not in made.succeeds


def _why_absent(call: Call, producers: tuple[str, ...]) -> str:
    if call.step.name in producers:
        return "that is the step's own outcome, which is not there when its command is built"
    return f"{', '.join(producers)} only begins after it"
