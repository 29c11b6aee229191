"""`stuck-outside-on-stuck`: where a process waits for a person is known in its `on_stuck` block only."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.injection import Stuck
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "stuck-outside-on-stuck"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        if not call.spot.alerting and any(parameter.wants is Stuck for parameter in subject.parameters(call)):
            yield subject.at_builder(
                RULE,
                call,
                f"{call.name} wants Stuck, but the process is not stuck when it is called",
                "use Stuck in the functions of the saga's on_stuck= block only",
            )
