"""`dead-block`: a block that cannot do anything is a mistake that looks like a process."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import Block, Parallel, Pivot, Sequence
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "dead-block"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        if isinstance(spot.block, Sequence | Parallel) and not spot.block.children:
            name = type(spot.block).__name__.lower()
            yield subject.at_block(RULE, spot, f"an empty {name} does nothing", "give it blocks, or remove it")
    yield from _useless_pivot(subject)


def _useless_pivot(subject: Subject) -> Iterator[Finding]:
    body = subject.saga.body
    children: tuple[Block, ...] = body.children if isinstance(body, Sequence) else (body,)
    for spot in subject.spots:
        if not isinstance(spot.block, Pivot) or spot.cancelled:
            continue
        if spot.block is children[-1]:
            message, fix = "nothing follows the pivot, so it changes nothing", "remove it, or place steps after it"
            yield subject.at_block(RULE, spot, message, fix)
        elif spot.block is children[0] and subject.saga.cancelled is not None:
            message = "the process only goes forward from its beginning, so its cancelled block is never reached"
            yield subject.at_block(RULE, spot, message, "remove cancelled=, or place steps before the pivot")
