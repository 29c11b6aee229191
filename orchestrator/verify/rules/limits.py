"""`limit-conflict`: limits that can be what they say, together.

That counts and periods can be meant at all is said by `Rate` and `Concurrency` themselves, where they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.language.blocks import CommandStep
from orchestrator.language.limits import Concurrency, Limit, Rate, limiter_of, limits_text
from orchestrator.language.location import Location
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "limit-conflict"


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a limit is written. `of_saga`: it is of the whole process."""

    subject: Subject
    location: Location
    path: str
    limit: Limit
    key: tuple[str, str]
    """Kind and name of the limiter."""
    of_saga: bool

    def finding(self, message: str, fix: str) -> Finding:
        return self.subject.at(RULE, self.location, message, fix, self.path)

    @property
    def numbers(self) -> object:
        if isinstance(self.limit, Rate):
            return self.limit.count, self.limit.period, self.limit.burst or self.limit.count
        return self.limit.count

    @property
    def said(self) -> str:
        return limits_text((self.limit,))


def _uses(subject: Subject) -> Iterator[_Use]:
    saga = subject.saga
    for limit in saga.limits:
        yield _Use(subject, saga.location, saga.name, limit, limiter_of(limit, saga.name), of_saga=True)
    for spot in subject.spots:
        if isinstance(spot.block, CommandStep):
            for limit in spot.block.limits:
                key = limiter_of(limit, f"{saga.name}.{spot.block.name}")
                yield _Use(subject, spot.block.location, spot.path, limit, key, of_saga=False)


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    """One place does not ask the same limiter twice."""
    seen: set[tuple[Location, str, tuple[str, str]]] = set()
    for use in _uses(subject):
        place = (use.location, use.path, use.key)
        if place in seen:
            message = f"it has two limits of the kind {use.key[0]} and the name {use.key[1]!r}"
            yield use.finding(message, "drop one, or give one another name=")
        seen.add(place)


def check_shared(subjects: Iterable[Subject]) -> Iterator[Finding]:
    """Over all sagas, of each its newest version: limits of one name are one limit, and cannot wait for each other."""
    first: dict[tuple[str, str], _Use] = {}
    for subject in _newest(subjects):
        for use in _uses(subject):
            other = first.setdefault(use.key, use)
            where = f"{other.location.file}:{other.location.line}"
            if use.numbers != other.numbers:
                message = f"the limit {use.key[1]!r} is {use.said} here, and {other.said} at {where}"
                yield use.finding(message, "give both the same numbers, or one another name=")
            elif use.of_saga != other.of_saga and isinstance(use.limit, Concurrency):
                message = (
                    f"the limit {use.key[1]!r} is of a whole process and of a step ({where}): processes that hold all"
                    " places would wait for one of them in their steps"
                )
                yield use.finding(message, "give the step's limit another name=")


def _newest(subjects: Iterable[Subject]) -> Iterable[Subject]:
    newest: dict[str, Subject] = {}
    for subject in subjects:
        known = newest.get(subject.saga.name)
        if known is None or known.saga.version < subject.saga.version:
            newest[subject.saga.name] = subject
    return newest.values()
