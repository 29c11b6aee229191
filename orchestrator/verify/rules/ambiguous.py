"""`ambiguous-injection`: where several steps may have captured a type, `From` says which one is meant.

The start event comes before outcomes of the same type, an element before both, and in an undo the step's own outcome
before others'. Steps in two branches of a choice, of which one is taken, do not compete; nor do those in two
alternatives of a fallback. In a tuple all compete: it would hold one step's outcomes after the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "ambiguous-injection"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for call in subject.calls:
        for parameter in subject.parameters(call):
            wants = parameter.wants
            possible = [name for name in subject.producers(wants) if name in call.possible]
            known = subject.takes_start(parameter) or subject.element_loop(call, parameter) is not None
            is_own = call.role == "undo" and call.own in possible
            if parameter.source is not None or known or is_own or len(possible) < 2:
                continue
            if not parameter.many and all(subject.are_exclusive(call, *pair) for pair in combinations(possible, 2)):
                continue
            shape = f"tuple[{wants.__name__}, ...]" if parameter.many else wants.__name__
            yield subject.at_builder(
                RULE,
                call,
                f"{call.name} wants {wants.__name__} ({parameter.name}), which {', '.join(possible)} yield",
                f'say which one: {parameter.name}: Annotated[{shape}, From("{possible[0]}")]',
            )
