"""All rules over all sagas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orchestrator.language.saga import Saga
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.rules import (
    ambiguous,
    builder_makes,
    builder_signature,
    captured,
    command_handled,
    dead_block,
    ending,
    irreversible,
    needless_optional,
    pivot,
    pure_builder,
    reserved_name,
    retry,
    saga_unique,
    timing,
    undo_demands,
    undo_refusable,
    unknown_source,
)
from orchestrator.verify.subject import Subject

Rule = Callable[[Subject, Handlers], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    ambiguous.check,
    builder_makes.check,
    builder_signature.check,
    captured.check,
    command_handled.check,
    dead_block.check,
    ending.check,
    irreversible.check,
    needless_optional.check,
    pivot.check,
    pure_builder.check,
    reserved_name.check,
    retry.check,
    timing.check,
    undo_demands.check,
    undo_refusable.check,
    unknown_source.check,
)


def verify_sagas(sagas: Iterable[Saga], handlers: Handlers) -> tuple[Finding, ...]:
    """Every finding, ordered by file and line. Empty: the sagas may run."""
    subjects = [Subject(saga) for saga in sagas]
    found = {finding for subject in subjects for rule in RULES for finding in rule(subject, handlers)}
    return tuple(sorted(found | set(saga_unique.check(subjects))))
