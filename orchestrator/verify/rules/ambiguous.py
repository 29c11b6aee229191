"""`ambiguous-injection`: where several steps may have captured a type, `From` says which one is meant.

The start event comes before outcomes of the same type, and in an undo the step's own outcome comes before others'.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "ambiguous-injection"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            wants = parameter.wants
            possible = [name for name in subject.producers(wants) if name in call.possible]
            is_own = call.role == "undo" and call.step.name in possible
            if parameter.source is not None or wants is subject.saga.starts_on or is_own or len(possible) < 2:
                continue
            yield subject.at_builder(
                RULE,
                call,
                f"{call.name} wants {wants.__name__} ({parameter.name}), which {', '.join(possible)} yield",
                f'say which one: {parameter.name}: Annotated[{wants.__name__}, From("{possible[0]}")]',
            )
