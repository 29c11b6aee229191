"""All rules over all sagas; then those that break none are explored with the real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orchestrator.language.saga import Saga
from orchestrator.verify.exploration import check_exploration
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.migrations import check_migrations
from orchestrator.verify.rules import (
    ambiguous,
    builder_makes,
    builder_signature,
    captured,
    child_in_loop,
    child_known,
    child_nesting,
    command_handled,
    correlation,
    dead_block,
    deadline_short,
    ending,
    event_published,
    fallback_reference,
    injected_shape,
    irreversible,
    limits,
    needless_optional,
    on_stuck,
    pivot,
    pure_builder,
    reserved_name,
    retry,
    retry_outlasts,
    saga_unique,
    stuck,
    timing,
    undo_demands,
    undo_refusable,
    unknown_source,
    unreachable_branch,
)
from orchestrator.verify.subject import Subject

Rule = Callable[[Subject, Handlers], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    ambiguous.check,
    builder_makes.check,
    builder_signature.check,
    captured.check,
    child_in_loop.check,
    child_known.check,
    child_nesting.check,
    command_handled.check,
    correlation.check,
    dead_block.check,
    deadline_short.check,
    ending.check,
    event_published.check,
    fallback_reference.check,
    injected_shape.check,
    irreversible.check,
    limits.check,
    needless_optional.check,
    on_stuck.check,
    pivot.check,
    pure_builder.check,
    reserved_name.check,
    retry.check,
    retry_outlasts.check,
    stuck.check,
    timing.check,
    undo_demands.check,
    undo_refusable.check,
    unknown_source.check,
    unreachable_branch.check,
)


def verify_sagas(
    sagas: Iterable[Saga], handlers: Handlers, beside: Iterable[Saga] | None = None
) -> tuple[Finding, ...]:
    """Every finding, ordered by file and line. Empty: the sagas may run.

    `beside`: all sagas that run; default: those that are verified.
    """
    verified = tuple(sagas)
    known = verified if beside is None else tuple(beside)
    children = {(step.child.name, step.child.version) for saga in known for step in saga.children()}
    subjects = [Subject(saga, known) for saga in verified]
    found = {*saga_unique.check(subjects), *limits.check_shared(subjects), *check_migrations(known)}
    for subject in subjects:
        broken = {finding for rule in RULES for finding in rule(subject, handlers)}
        found |= broken or set(
            check_exploration(subject.saga, as_child=(subject.saga.name, subject.saga.version) in children)
        )
    return tuple(sorted(found))
