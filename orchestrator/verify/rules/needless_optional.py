"""`needless-optional`: the start event, the ending in `cancelled`, an element, a tuple, `Stuck` are always there.

A branch for their absence is dead code. A step's outcome may be optional even where it is guaranteed: only then can a
person skip that step without giving an outcome.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.injection import Ending, Stuck
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "needless-optional"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            known = subject.takes_start(parameter) or subject.element_loop(call, parameter) is not None
            if parameter.optional and (known or parameter.wants in (Ending, Stuck) or parameter.many):
                name = f"tuple[{parameter.wants.__name__}, ...]" if parameter.many else parameter.wants.__name__
                message = f"{call.name} takes {name} | None ({parameter.name}), but it is never absent"
                yield subject.at_builder(RULE, call, message, f"declare it as {name}")
