"""`unknown-source`: `From` names a step of this saga whose command has the type among its outcomes."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "unknown-source"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            if parameter.source is None or subject.element_loop(call, parameter) is not None:
                continue
            source, wants = subject.source(parameter.source), parameter.wants
            if source is not None and subject.yields(source, wants):
                continue
            what = "is no command step of this saga" if source is None else f"never yields {wants.__name__}"
            able = subject.producers(wants)
            fix = f"name one of {', '.join(able)}" if able else f"no step yields {wants.__name__}: drop the parameter"
            message = f"{call.name} takes {parameter.name} from {parameter.source!r}, which {what}"
            yield subject.at_builder(RULE, call, message, fix)
