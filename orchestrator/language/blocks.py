"""The blocks of the language, as frozen values. Their behaviour is in `orchestrator.engine.blocks`, one file each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from contracts.message import Command, Event
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.limits import Limit, limits_of
from orchestrator.language.location import Location
from orchestrator.language.policies import DEFAULT_PATIENCE, DEFAULT_TIMEOUT, UNDO_RETRY, Retry
from orchestrator.language.waiting import Approval, WaitFor

if TYPE_CHECKING:
    from orchestrator.language.saga import Saga

CommandBuilder = Callable[..., Command]
EventBuilder = Callable[..., Event]
OnFailure = Literal["compensate", "hold"]


def _caller() -> Location:
    frame = sys._getframe(2)
    return Location(frame.f_code.co_filename, frame.f_lineno)


@dataclass(frozen=True, slots=True)
class Undo:
    """The compensation of a step: a command that cannot be refused, retried by its own policy."""

    builder: CommandBuilder
    retry: Retry = UNDO_RETRY
    timeout: timedelta = DEFAULT_TIMEOUT
    patience: timedelta = DEFAULT_PATIENCE


@dataclass(frozen=True, slots=True)
class Sequence:
    children: tuple[Block, ...]
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Parallel:
    children: tuple[Block, ...]
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class CommandStep:
    """One command and the outcomes that its contract names."""

    name: str
    builder: CommandBuilder
    undo: Undo | None
    irreversible: bool
    retry: Retry
    timeout: timedelta
    patience: timedelta
    on_failure: OnFailure
    location: Location = field(compare=False)
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Pivot:
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Emit:
    name: str
    builder: EventBuilder
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Subsaga:
    """A process of another saga, started by this step: its child."""

    name: str
    child: Saga
    builder: EventBuilder
    undo: Undo | None
    irreversible: bool
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Returns:
    """Made by `Saga(returns=...)`, the last thing that a completed child does: what it brings home to its parent."""

    name: str
    builder: EventBuilder
    location: Location = field(compare=False)


ON_STUCK = "on_stuck"
"""The name under which a saga's alerts are kept: no block has it."""


@dataclass(frozen=True, slots=True)
class OnStuck:
    """A saga's `on_stuck`, once for each time that the process is stuck. Written as the saga's option, never as a
    block."""

    body: Block
    location: Location = field(compare=False)
    name: str = ON_STUCK

    @property
    def children(self) -> tuple[Block, ...]:
        return (self.body,)


Block = (
    Sequence
    | Parallel
    | Choice
    | ForEach
    | Repeat
    | Fallback
    | CommandStep
    | Subsaga
    | Pivot
    | Emit
    | Sleep
    | WaitFor
    | Approval
    | Returns
    | OnStuck
)
Loop = ForEach | Repeat
Named = CommandStep | Subsaga | Emit | ForEach | Repeat | Sleep | WaitFor | Approval | OnStuck


def children_of(block: Block) -> tuple[Block, ...]:
    """The blocks inside, in the order they are written."""
    around = Sequence | Parallel | Choice | ForEach | Repeat | Fallback | OnStuck
    return block.children if isinstance(block, around) else ()


def sequence(*blocks: Block) -> Sequence:
    """One after the other. Undone in reverse."""
    return Sequence(blocks, _caller())


def parallel(*blocks: Block) -> Parallel:
    """All at once; done when all are done. The first failure stops new steps in the siblings. Undone side by side."""
    return Parallel(blocks, _caller())


def command(
    builder: CommandBuilder,
    *,
    undo: CommandBuilder | Undo | None = None,
    irreversible: bool = False,
    retry: Retry | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
    patience: timedelta = DEFAULT_PATIENCE,
    on_failure: OnFailure = "compensate",
    limit: Limit | tuple[Limit, ...] | None = None,
    name: str | None = None,
) -> CommandStep:
    """A step: send the command that `builder` makes, and wait for one of its outcomes.

    Args:
        builder: Makes the command; its parameters are injected by type.
        undo: Makes the compensating command, or a full `Undo` policy. Required before the pivot, unless
            `irreversible=True` says that nothing can be done about it.
        retry: New tries after failures without effect; default `Retry()`.
        timeout: Silence after which the same try is sent again.
        patience: Silence after which the step is perhaps done; also the command's deadline.
        on_failure: `hold`: when the step has failed or is perhaps done, the process stays there for a person, and what
            has succeeded is kept. Cancellation and the deadline still undo everything.
        limit: How many tries of this step may be under way at once (`Concurrency`) or begin in a time (`Rate`), in all
            processes together. Undos take no permits.
        name: The step's name; default: the builder's function name. Unique in a saga.
    """
    return CommandStep(
        name=name or builder.__name__,
        builder=builder,
        undo=_whole(undo),
        irreversible=irreversible,
        retry=retry or Retry(),
        timeout=timeout,
        patience=patience,
        on_failure=on_failure,
        location=_caller(),
        limits=limits_of(limit),
    )


def _whole(undo: CommandBuilder | Undo | None) -> Undo | None:
    return undo if isinstance(undo, Undo) or undo is None else Undo(undo)


def subsaga(
    child: Saga,
    builder: EventBuilder,
    *,
    undo: CommandBuilder | Undo | None = None,
    irreversible: bool = False,
    name: str | None = None,
) -> Subsaga:
    """A step that is a whole process of another saga, with its own id, shard and history. It is done when that process
    has completed, and has failed when that ended otherwise; what the child's `returns=` makes, later builders may ask
    for. To undo it is to undo the child, step by step in reverse.

    Args:
        child: The child's saga, in the version that is started. It must be among the sagas that the orchestrator runs.
        builder: Makes the child's start event, whose business key names the child; its parameters are injected by type.
        undo: Makes a command that undoes what the child did, sent instead of undoing the child. A child with a pivot
            cannot be undone itself: it needs this, or `irreversible=True`.
        irreversible: A completed child stays as it is.
        name: The step's name; default: the builder's function name. Unique in a saga.
    """
    return Subsaga(name or builder.__name__, child, builder, _whole(undo), irreversible, _caller())


def pivot() -> Pivot:
    """The point of no return: once, at the top level. After it a process only goes forward."""
    return Pivot(_caller())


def emit(builder: EventBuilder, *, name: str | None = None) -> Emit:
    """Publish the event that `builder` makes."""
    return Emit(name or builder.__name__, builder, _caller())
