"""`unknown-child`: a child's saga runs beside its parent's, as the very definition that the parent names.

A shard whose log names a saga and version that the build lacks pauses; another definition under the same name and
version would do something else than the parent's author has read.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import Subsaga
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "unknown-child"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    if subject.known is None:
        return
    for spot in subject.spots:
        if not isinstance(spot.block, Subsaga):
            continue
        child = spot.block.child
        named = [saga for saga in subject.known if (saga.name, saga.version) == (child.name, child.version)]
        if not named:
            message = f"{spot.block.name} starts {child.name}, version {child.version}, which no shard would run"
            yield subject.at_block(RULE, spot, message, "name it in all_sagas() (orchestrator/sagas/__init__.py)")
        elif child not in named:
            message = f"{spot.block.name} starts another {child.name}, version {child.version}, than the one that runs"
            yield subject.at_block(RULE, spot, message, "start the definition that runs, or raise its version")
