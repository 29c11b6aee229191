"""A saga: the declared steps of one business process."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from contracts.message import Event
from orchestrator.language.blocks import (
    ON_STUCK,
    Block,
    CommandStep,
    Emit,
    EventBuilder,
    Named,
    Returns,
    Subsaga,
    children_of,
)
from orchestrator.language.limits import Limit, limits_of
from orchestrator.language.location import Location
from orchestrator.language.migration import Migration
from orchestrator.language.waiting import WaitFor

NAME_PATTERN = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
RETURNS = "returns"
"""The address of a saga's `returns=` in its processes."""
STEP_NAME_PATTERN = re.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")


class SagaError(ValueError):
    """The definition is malformed in a way that no part of the system could work with; raised where it is written."""


def _where_written() -> Location:
    frame = sys._getframe(2)
    return Location(frame.f_code.co_filename, frame.f_lineno)


@dataclass(frozen=True, kw_only=True)
class Saga:
    """Starts on an event; one process per business key.

    Args:
        name: Lower-case words joined by hyphens. Part of every process id.
        version: Raised with every change that matters to running processes.
        starts_on: The event that starts a process.
        key: The business key of that event; must be a valid id (`contracts.message.Identifier`).
        body: What the process does.
        cancelled: What it does last, after everything was undone.
        cancelled_by: An event that calls the process off before its pivot, and its business key (the process').
        deadline: The time limit of the whole process; when it passes before the pivot, everything is undone.
        limit: How many processes may run at once (`Concurrency`) or begin in a time (`Rate`). One that waits has been
            started and recorded, and its body begins with its permits.
        returns: Makes the message that a process which was started by a `subsaga` brings home when it has completed: an
            event class, injected like any builder. Nobody else gets it.
        on_stuck: Alerts (emit, sleep, sequence, choice, repeat) that begin whenever the process waits for a person to
            decide, and are given up as soon as one has.
        migrates: Older versions whose waiting processes may be moved to this one.
        keep_ended: How long an ended process is kept whole, with its history. Default: 7 days. After that it is only
            remembered that it was there.

    Raises:
        SagaError: a malformed name or version, two steps of one name, or a migration that is not from an older version.
    """

    name: str
    version: int
    starts_on: type[Event]
    key: Callable[[Any], str]
    body: Block
    cancelled: Block | None = None
    cancelled_by: tuple[type[Event], Callable[[Any], str]] | None = None
    deadline: timedelta | None = None
    returns: EventBuilder | None = None
    limit: Limit | tuple[Limit, ...] | None = None
    on_stuck: Block | None = None
    migrates: tuple[Migration, ...] = ()
    keep_ended: timedelta | None = None
    location: Location = field(default_factory=_where_written, compare=False)

    def __post_init__(self) -> None:
        if not NAME_PATTERN.match(self.name):
            raise SagaError(f"saga name {self.name!r}: lower-case words joined by hyphens are wanted")
        if self.version < 1:
            raise SagaError(f"saga {self.name}: versions count from 1, not {self.version}")
        if not self.starts_on.type:
            raise SagaError(f"saga {self.name}: {self.starts_on.__name__} has no type name")
        if self.cancelled_by is not None and self.cancelled_by[0] is self.starts_on:
            raise SagaError(f"saga {self.name}: what starts it cannot call it off")
        limits_of(self.limit)
        older = [migration.from_version for migration in self.migrates]
        if len(set(older)) < len(older) or any(version >= self.version for version in older):
            raise SagaError(f"saga {self.name}: version {self.version} migrates from {older}: each older version once")
        if self.keep_ended is not None and self.keep_ended <= timedelta(0):
            raise SagaError(f"saga {self.name}: keep_ended is a time span above 0, not {self.keep_ended}")
        seen: set[str] = set() if self.on_stuck is None else {ON_STUCK}
        for step in self.blocks():
            if not isinstance(step, Named):
                continue
            if not STEP_NAME_PATTERN.match(step.name):
                raise SagaError(f"saga {self.name}: step name {step.name!r} is not a name; give it one with name=")
            if step.name in seen:
                raise SagaError(f"saga {self.name}: two steps are named {step.name!r}; give one another name=")
            if step.name == RETURNS and self.returns is not None:
                raise SagaError(f"saga {self.name}: a step is named {RETURNS!r}, like what the saga returns")
            seen.add(step.name)
            if isinstance(step, WaitFor) and step.wants is self.starts_on:
                raise SagaError(f"saga {self.name}: {step.name} waits for what starts it")
            if isinstance(step, WaitFor) and self.cancelled_by is not None and step.wants is self.cancelled_by[0]:
                raise SagaError(f"saga {self.name}: {step.name} waits for what calls the process off")

    @property
    def result(self) -> Returns | None:
        """The saga's `returns=` as a block."""
        return None if self.returns is None else Returns(RETURNS, self.returns, self.location)

    def children(self) -> Iterator[Subsaga]:
        """The steps that start processes of other sagas."""
        return (block for block in self.blocks() if isinstance(block, Subsaga))

    @property
    def limits(self) -> tuple[Limit, ...]:
        return limits_of(self.limit)

    def migration(self, from_version: int) -> Migration | None:
        """How processes of that version are taken over; None if they are not."""
        return next((one for one in self.migrates if one.from_version == from_version), None)

    def steps(self) -> Iterator[CommandStep | Emit]:
        """All steps, in the order they are written, those of `cancelled` last."""
        for block in self.blocks():
            if isinstance(block, CommandStep | Emit):
                yield block

    def blocks(self) -> Iterator[Block]:
        """Every block, each before those inside it; those of `cancelled` and then of `on_stuck` last."""
        yield from _blocks(self.body)
        if self.cancelled is not None:
            yield from _blocks(self.cancelled)
        if self.on_stuck is not None:
            yield from _blocks(self.on_stuck)


def _blocks(block: Block) -> Iterator[Block]:
    yield block
    for child in children_of(block):
        yield from _blocks(child)
