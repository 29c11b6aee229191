"""`undo-demands-own-outcome`: an undo may cover a step that is only perhaps done, so it cannot demand its outcome."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import Subsaga
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "undo-demands-own-outcome"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        if call.role != "undo" or isinstance(call.step, Subsaga):
            continue  # a child is never perhaps done: it is undone when it has completed, with what it returned
        for parameter in subject.parameters(call):
            own = call.own in subject.producers(parameter.wants, parameter.source)
            known = subject.takes_start(parameter) or subject.element_loop(call, parameter) is not None
            if own and not (parameter.optional or parameter.many or known):
                name = parameter.wants.__name__
                yield subject.at_builder(
                    RULE,
                    call,
                    f"{call.name} demands {name} ({parameter.name}), but when {call.own} is only "
                    "perhaps done there is none",
                    f"declare it as {name} | None; without it, the participant undoes by the ids in ce_undoes",
                )
