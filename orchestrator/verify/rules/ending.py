"""`ending-outside-cancelled`: why a process ended is known in its `cancelled` block only."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.injection import Ending
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "ending-outside-cancelled"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        inside = call.spot.cancelled and call.role == "builder"
        if not inside and any(parameter.wants is Ending for parameter in subject.parameters(call)):
            yield subject.at_builder(
                RULE,
                call,
                f"{call.name} wants Ending, but there may be none when it is called",
                "use Ending in the builders of the saga's cancelled= block only",
            )
