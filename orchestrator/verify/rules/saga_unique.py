"""`saga-defined-twice`: a name and version mean one saga."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.verify.finding import Finding
from orchestrator.verify.subject import Subject

RULE = "saga-defined-twice"


def check(subjects: Iterable[Subject]) -> Iterator[Finding]:
    seen: dict[tuple[str, int], Subject] = {}
    for subject in subjects:
        saga = subject.saga
        if (saga.name, saga.version) in seen:
            message = f"version {saga.version} of {saga.name} is defined twice"
            yield subject.at(RULE, saga.location, message, "raise version=, or choose another name=", saga.name)
        seen[saga.name, saga.version] = subject
