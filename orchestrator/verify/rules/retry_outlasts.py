"""`retry-outlasts-patience`: a step that pauses between its tries for longer than it is patient says two things.

Patience is what the author grants a step; back-offs that together take longer would make the step last longer than one
that is never answered at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import CommandStep, Subsaga, Undo
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.rules.retry import back_off
from orchestrator.verify.subject import Subject

RULE = "retry-outlasts-patience"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        step = spot.block
        if not isinstance(step, CommandStep | Subsaga):
            continue
        policies: list[tuple[str, CommandStep | Undo]] = [(step.name, step)] if isinstance(step, CommandStep) else []
        if step.undo is not None:
            policies.append((f"the undo of {step.name}", step.undo))
        for name, policy in policies:
            retry, patience = policy.retry, policy.patience
            if policy.timeout <= patience < back_off(retry):
                message = f"the back-offs of {name} take {back_off(retry)}, but its patience is {patience}"
                yield subject.at_block(RULE, spot, message, "lower attempts or maximum, or raise patience")
