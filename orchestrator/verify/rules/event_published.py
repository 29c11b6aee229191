"""`unpublished-event`: what a saga observes is published by some service.

`observe` speaks of another service's doing; `wait_for` may also be for an event from outside, which no file here lists.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.message import Message
from orchestrator.language.waiting import WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "unpublished-event"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    if handlers.known is None:
        return
    published = {type_name for handler in handlers.known for type_name in handler.publishes}
    for spot in subject.spots:
        block = spot.block
        if not isinstance(block, WaitFor) or not block.choreographed or not issubclass(block.wants, Message):
            continue
        if block.wants.type not in published:
            message = f"{block.name} observes {block.wants.type}, which no service publishes"
            fix = (
                "let a service publish it, write contracts/handlers.json anew (python -m services --write-handlers), "
                "or say wait_for(...) if it comes from outside"
            )
            yield subject.at_block(RULE, spot, message, fix)
