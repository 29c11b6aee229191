"""`no-undo`: every step before the pivot has an undo or says that nothing can be done about it.

Steps after the pivot, and those of `cancelled`, are never compensated. They may have an undo all the same: a success of
a try that was given up, or of a second try, is undone there too (DESIGN section 4). A child undoes itself, unless its
saga has a point of no return of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import CommandStep, Pivot, Subsaga
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "no-undo"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        step = spot.block
        if not isinstance(step, CommandStep | Subsaga) or spot.alerting:
            continue
        if step.undo is not None and step.irreversible:
            yield subject.at_block(
                RULE,
                spot,
                f"{step.name} has an undo and says that it is irreversible",
                "keep one of undo= and irreversible=True",
            )
        elif isinstance(step, Subsaga) and not any(isinstance(block, Pivot) for block in step.child.blocks()):
            continue
        elif isinstance(step, Subsaga) and step.undo is None and not step.irreversible:
            if not (spot.past_pivot or spot.cancelled):
                message = f"{step.child.name} has a point of no return, and nothing undoes it once it has completed"
                yield subject.at_block(RULE, spot, message, "give the subsaga undo=, or say irreversible=True")
        elif step.undo is None and not (step.irreversible or spot.past_pivot or spot.cancelled):
            yield subject.at_block(
                RULE,
                spot,
                f"{step.name} stands before the point of no return, and nothing undoes it",
                "give it undo=, or say irreversible=True, or place it after pivot()",
            )
