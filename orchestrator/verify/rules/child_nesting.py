"""`child-nesting`: a saga does not start itself, however deep, and its children's children come to an end soon.

A process of a saga that is its own descendant, in whatever version, would start the next one for ever, or find its own
key taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import Subsaga
from orchestrator.language.saga import Saga
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "child-nesting"
GENERATIONS_MAX = 8
"""A parent, its children and so on (our choice): an undo goes through all of them, one after the other."""


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        if isinstance(spot.block, Subsaga):
            line = _worst_line(spot.block.child, (subject.saga.name,))
            if line is None:
                continue
            told = " > ".join(line)
            if line[-1] in line[:-1]:
                message, fix = f"{line[-1]} starts itself: {told}", "let the inner one be a saga of another name"
            else:
                message = f"more than {GENERATIONS_MAX} generations: {told}"
                fix = "let one saga do what several in this line do"
            yield subject.at_block(RULE, spot, message, fix)


def _worst_line(saga: Saga, above: tuple[str, ...]) -> tuple[str, ...] | None:
    """Names from the first parent down to where it goes wrong; None: it goes well."""
    line = (*above, saga.name)
    if saga.name in above or len(line) > GENERATIONS_MAX:
        return line
    found = (_worst_line(step.child, line) for step in saga.children())
    return next((one for one in found if one is not None), None)
