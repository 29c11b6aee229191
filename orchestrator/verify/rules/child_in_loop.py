"""`child-started-twice`: a subsaga in a loop has another business key in every element or round.

A key names one process, which is started once. A builder that asks for nothing of the loop around it makes the same key
each time: the second start would fail. That what it asks for also tells the elements apart, no rule can see.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import Loop, Subsaga
from orchestrator.language.flow import ForEach
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.places import names
from orchestrator.verify.subject import Call, Subject

RULE = "child-started-twice"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        if not isinstance(call.step, Subsaga) or call.role != "builder" or subject.problem(call) is not None:
            continue
        for loop in call.spot.loops:
            if loop.bound > 1 and not _asks_for_something_of(subject, call, loop):
                each = "element" if isinstance(loop, ForEach) else "round"
                message = f"{call.name} asks for nothing of {loop.name}, so every {each} would start the same process"
                fix = "take the element" if isinstance(loop, ForEach) else "take what a step of the round has captured"
                yield subject.at_builder(RULE, call, message, f"{fix}, and let the child's key depend on it")


def _asks_for_something_of(subject: Subject, call: Call, loop: Loop) -> bool:
    inside = names(loop)
    for parameter in subject.parameters(call):
        if isinstance(loop, ForEach) and subject.element_loop(call, parameter) is loop:
            return True
        if any(name in inside for name in subject.producers(parameter.wants, parameter.source)):
            return True
    return False
