"""`impure-builder`: builders, predicates and key functions depend on what they are given and on nothing else.

The log is folded again after every crash: a builder that reads a clock, a random number, the environment or a set's
order would make other messages under the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType

from orchestrator.language.waiting import WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.purity import Impurity, impurities
from orchestrator.verify.subject import Subject

RULE = "impure-builder"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    if isinstance(subject.saga.key, FunctionType):
        for impurity in impurities(subject.saga.key):
            yield _finding(subject, impurity, "the key function", "key")
    if subject.saga.cancelled_by is not None and isinstance(subject.saga.cancelled_by[1], FunctionType):
        for impurity in impurities(subject.saga.cancelled_by[1]):
            yield _finding(subject, impurity, "the key function of cancelled_by", "cancelled_by")
    for spot in subject.spots:
        if isinstance(spot.block, WaitFor) and isinstance(spot.block.key, FunctionType):
            for impurity in impurities(spot.block.key):
                yield _finding(subject, impurity, f"the key function of {spot.block.name}", spot.path)
    for call in subject.calls:
        if isinstance(call.builder, FunctionType):
            for impurity in impurities(call.builder):
                yield _finding(subject, impurity, call.name, call.path)


def _finding(subject: Subject, impurity: Impurity, name: str, path: str) -> Finding:
    through = " > ".join(impurity.chain[1:])
    message = f"{name} is not pure: {f'in {through}: ' if through else ''}{impurity.problem}"
    whole_path = f"{path} > {through}" if through else path
    return Finding(impurity.file, impurity.line, subject.saga.name, RULE, message, impurity.fix, whole_path)
