"""`undo-demands-own-outcome`: an undo may cover a step that is only perhaps done, so it cannot demand its outcome."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "undo-demands-own-outcome"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        if call.role != "undo":
            continue
        for parameter in subject.parameters(call):
            own = parameter.source in (None, call.step.name) and call.step.name in subject.producers(parameter.wants)
            if own and not parameter.optional and parameter.wants is not subject.saga.starts_on:
                name = parameter.wants.__name__
                yield subject.at_builder(
                    RULE,
                    call,
                    f"{call.name} demands {name} ({parameter.name}), but when {call.step.name} is only "
                    "perhaps done there is none",
                    f"declare it as {name} | None; without it, the participant undoes by the ids in ce_undoes",
                )
