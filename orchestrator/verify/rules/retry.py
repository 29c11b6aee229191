"""`retry-never-happens`: a retry policy speaks of refusals that the command has, and ends before the deadline does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from orchestrator.language.blocks import CommandStep, Subsaga
from orchestrator.language.policies import Retry
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Spot, Subject

RULE = "retry-never-happens"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        if isinstance(spot.block, CommandStep):
            yield from _foreign_refusals(subject, spot, spot.block)
            yield from _past_deadline(subject, spot, spot.block)
        if isinstance(spot.block, CommandStep | Subsaga) and spot.block.undo is not None and spot.block.undo.retry.on:
            message = f"the undo of {spot.block.name} is retried on a refusal, but undos cannot be refused"
            yield subject.at_block(RULE, spot, message, "drop on= from the undo's Retry")


def _foreign_refusals(subject: Subject, spot: Spot, step: CommandStep) -> Iterator[Finding]:
    made = subject.command(step)
    refuses = () if made is None else made.refuses
    foreign = [event.__name__ for event in step.retry.on if made is not None and event not in refuses]
    if foreign:
        known = ", ".join(event.__name__ for event in refuses) or "none"
        message = f"{step.name} is retried on {', '.join(foreign)}, but its command is refused by {known}"
        yield subject.at_block(RULE, spot, message, "name refusals of the step's own command in Retry(on=...)")
    elif step.retry.on and step.retry.attempts == 1:
        message = f"{step.name} is retried on a refusal, but has one attempt in all"
        yield subject.at_block(RULE, spot, message, "raise attempts, or drop on=")


def _past_deadline(subject: Subject, spot: Spot, step: CommandStep) -> Iterator[Finding]:
    """Past the pivot, and in `cancelled`, the deadline stops nothing."""
    deadline = subject.saga.deadline
    if deadline is None or deadline <= timedelta(0) or spot.past_pivot or spot.cancelled:
        return
    if back_off(step.retry) < deadline:
        return
    message = f"the back-offs of {step.name} alone take {back_off(step.retry)}, the whole process at most {deadline}"
    yield subject.at_block(RULE, spot, message, "lower attempts or maximum, or raise the saga's deadline")


def back_off(retry: Retry) -> timedelta:
    """The time that all pauses between the tries take together."""
    return sum((timedelta(milliseconds=retry.delay_ms(n)) for n in range(1, retry.attempts)), timedelta(0))
