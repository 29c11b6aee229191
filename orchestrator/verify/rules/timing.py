"""`timing`: durations that can be meant. Re-sends happen within the patience, and services still take what is sent.

A deadline shorter than what the blocks' limits add up to has its own rule, `deadline-too-short`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from orchestrator.language.blocks import CommandStep, Subsaga
from orchestrator.language.flow import Sleep
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Spot, Subject

RULE = "timing"
PATIENCE_MAX = timedelta(hours=23)
"""Services never execute a record older than 24 h (DESIGN section 5), which must exceed the longest command deadline
plus a service's longest pause; the hour is our margin for that pause."""


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    saga = subject.saga
    if saga.deadline is not None and saga.deadline <= timedelta(0):
        fix = "give a positive deadline, or none"
        yield subject.at(RULE, saga.location, f"the deadline is {saga.deadline}", fix, saga.name)
    for spot in subject.spots:
        if isinstance(spot.block, Sleep) and spot.block.duration is not None and spot.block.duration <= timedelta(0):
            message = f"{spot.block.name} sleeps for {spot.block.duration}"
            yield subject.at_block(RULE, spot, message, "give a positive duration, or remove it")
        if isinstance(spot.block, CommandStep):
            step = spot.block
            yield from _check(subject, spot, step.name, step.timeout, step.patience)
        if isinstance(spot.block, CommandStep | Subsaga) and spot.block.undo is not None:
            undo = spot.block.undo
            yield from _check(subject, spot, f"the undo of {spot.block.name}", undo.timeout, undo.patience)


def _check(subject: Subject, spot: Spot, name: str, timeout: timedelta, patience: timedelta) -> Iterator[Finding]:
    if timeout <= timedelta(0) or patience <= timedelta(0):
        message, fix = f"{name} has timeout {timeout} and patience {patience}", "give positive durations"
    elif timeout > patience:
        message = f"{name} is sent again after {timeout}, but given up after {patience}"
        fix = "make timeout shorter than patience"
    elif patience > PATIENCE_MAX:
        message = f"{name} is awaited for {patience}, but services refuse what is older than {PATIENCE_MAX}"
        fix = f"make patience at most {PATIENCE_MAX}"
    else:
        return
    yield subject.at_block(RULE, spot, message, fix)
