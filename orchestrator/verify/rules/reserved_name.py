"""`reserved-name`: a step is not called like a part of the ids and timers that are made from its name, and no saga like
what the engine calls its own processes.

Ids are `<process>/<step>/<try>`, `<process>/<step>/undo/<n>` and `<process>/phase/<n>`; timers `deadline`,
`<step>/silence`, `<step>/retry`, `<step>/permit` and `<step>/wake`; alerts are in `on_stuck[<n>]`. None of these would
be confused by the engine, all of them by people.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.engine.limiter import LIMITER_SAGA
from orchestrator.language.blocks import Named
from orchestrator.language.flow import ForEach, Repeat, Sleep
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "reserved-name"
KEYS = frozenset(("body", "cancelled"))
"""Under these a process keeps how its two root blocks have ended, beside the states of blocks that are no steps."""
RESERVED = frozenset(("deadline", "on_stuck", "permit", "phase", "retry", "silence", "undo", "wake"))


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    if subject.saga.name == LIMITER_SAGA:
        message = f"{LIMITER_SAGA!r} begins the ids of the engine's limiters: no process could have such an id"
        yield subject.at(RULE, subject.saga.location, message, "choose another name=", subject.saga.name)
    for spot in subject.spots:
        if isinstance(spot.block, Named) and spot.block.name in RESERVED:
            message = f"{spot.block.name!r} is a word of message ids and timers, not a name for a step"
            yield subject.at_block(RULE, spot, message, "rename its builder, or give it another name=")
        elif isinstance(spot.block, ForEach | Repeat | Sleep) and spot.block.name in KEYS:
            message = f"{spot.block.name!r} is a name under which a process keeps its own state"
            yield subject.at_block(RULE, spot, message, "rename its function, or give it another name=")
