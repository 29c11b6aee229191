"""A business without a business: messages, steps and sagas for tests of the engine itself.

Annotations are evaluated here (no `from __future__ import annotations`): a builder's `From` names a closure's step.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from contracts.message import Command, Event, Identifier, Text
from orchestrator.language.blocks import Block, CommandStep, Emit, Undo, command, emit
from orchestrator.language.injection import Ending, From
from orchestrator.language.saga import Saga


class Begun(Event, type="lab.begun.v1"):
    """Starts every saga of the laboratory. `note` reaches every command."""

    job_id: Identifier
    note: str = ""


class Done(Event, type="lab.done.v1"):
    job_id: Identifier
    step: Text
    mark: str = ""


class DoneElse(Event, type="lab.done-else.v1"):
    """Another success of the same command."""

    job_id: Identifier
    step: Text


class Refused(Event, type="lab.refused.v1"):
    job_id: Identifier
    step: Text


class Do(Command, type="lab.do.v1", succeeds=(Done, DoneElse), refuses=Refused):
    """`saw` is the mark of the earlier step that its builder asked for."""

    job_id: Identifier
    step: Text
    note: str = ""
    saw: str | None = None


class Reverted(Event, type="lab.reverted.v1"):
    job_id: Identifier
    step: Text


class Revert(Command, type="lab.revert.v1", succeeds=Reverted):
    """`mark` is that of the outcome which is undone; None for a perhaps-done step."""

    job_id: Identifier
    step: Text
    mark: str | None = None


class Told(Event, type="lab.told.v1"):
    job_id: Identifier
    name: Text
    reason: str | None = None
    step: str | None = None


def step(
    name: str,
    *,
    undo: bool = True,
    needs: str | None = None,
    needs_all: str | None = None,
    needed: type[Any] = Done,
    raises: Exception | None = None,
    undo_raises: Exception | None = None,
    undo_policy: dict[str, Any] | None = None,
    begun: Any = Begun,
    **options: Any,
) -> CommandStep:
    """A command `Do`; with an undo `Revert` unless `undo=False`.

    Args:
        needs: An earlier step whose outcome the builder demands.
        needed: What that one yields; anything with a `mark`.
        needs_all: An earlier step inside a `for_each`: what it has yielded in all elements, joined by commas.
        raises, undo_raises: A bug of the saga's author: what the builder raises.
        undo_policy: `retry`, `timeout`, `patience` of the undo.
        begun: The event that starts the saga.
        options: What `command` takes.
    """
    builder: Any
    if needs_all is not None:

        def builder(begun: begun, earlier: Any) -> Do:
            _raise(raises)
            return Do(job_id=begun.job_id, step=name, note=begun.note, saw=",".join(one.mark for one in earlier))

        many = tuple[needed, ...]  # type: ignore[valid-type]  # a type that the caller names
        builder.__annotations__["earlier"] = Annotated[many, From(needs_all)]

    elif needs is None:

        def builder(begun: begun) -> Do:
            _raise(raises)
            return Do(job_id=begun.job_id, step=name, note=begun.note)

    else:

        def builder(begun: begun, earlier: Any) -> Do:
            _raise(raises)
            return Do(job_id=begun.job_id, step=name, note=begun.note, saw=earlier.mark)

        builder.__annotations__["earlier"] = Annotated[needed, From(needs)]

    def revert(begun: begun, own: Annotated[Done | None, From(name)]) -> Revert:
        _raise(undo_raises)
        return Revert(job_id=begun.job_id, step=name, mark=own.mark if own else None)

    whole = Undo(revert, **(undo_policy or {})) if undo else None
    return command(builder, undo=whole, name=name, **options)


def told(name: str, *, raises: Exception | None = None) -> Emit:
    """Publishes `Told`."""

    def builder(begun: Begun) -> Told:
        _raise(raises)
        return Told(job_id=begun.job_id, name=name)

    return emit(builder, name=name)


def told_ending(name: str = "over", *, raises: Exception | None = None) -> Emit:
    """For a `cancelled` block: publishes `Told` with the reason."""

    def builder(begun: Begun, ending: Ending) -> Told:
        _raise(raises)
        return Told(job_id=begun.job_id, name=name, reason=ending.reason, step=ending.step)

    return emit(builder, name=name)


def lab_saga(
    body: Block,
    *,
    cancelled: Block | None = None,
    cancelled_by: tuple[type[Event], Callable[[Any], str]] | None = None,
    deadline: timedelta | None = None,
) -> Saga:
    return Saga(
        name="lab",
        version=1,
        starts_on=Begun,
        key=lambda begun: begun.job_id,
        body=body,
        cancelled=cancelled,
        cancelled_by=cancelled_by,
        deadline=deadline,
    )


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
