"""The laboratory's children: a small saga that returns what it did, and steps that start it."""

# Annotations are evaluated here (no `from __future__ import annotations`): `From` names a closure's step.
from datetime import timedelta
from typing import Annotated, Any

from contracts.message import Event, Identifier
from orchestrator.language.blocks import Block, Subsaga, Undo, pivot, sequence, subsaga
from orchestrator.language.injection import From
from orchestrator.language.saga import Saga
from orchestrator.testkit.lab import Begun, Done, Revert, step
from orchestrator.testkit.lab_flow import Item


class ChildBegun(Event, type="lab.child-begun.v1"):
    """Starts every child of the laboratory. `child_id` is its key; its steps act for `job_id`."""

    child_id: Identifier
    job_id: Identifier
    note: str = ""


def child_saga(
    body: Block | None = None,
    *,
    name: str = "lab-child",
    returns: bool = True,
    of: str = "c1",
    cancelled: Block | None = None,
    deadline: timedelta | None = None,
    raises: Exception | None = None,
) -> Saga:
    """Without `body`: one step `c1` with an undo. `of`: the step whose outcome it returns."""

    def home(begun: ChildBegun, done: Annotated[Done, From(of)]) -> Done:
        if raises is not None:
            raise raises
        return Done(job_id=begun.job_id, step=name, mark=done.mark or begun.note)

    return Saga(
        name=name,
        version=1,
        starts_on=ChildBegun,
        key=lambda begun: begun.child_id,
        body=body or child_step("c1"),
        cancelled=cancelled,
        deadline=deadline,
        returns=home if returns else None,
    )


def pivoted_child(*, name: str = "lab-sure") -> Saga:
    """Past its pivot after `c1`."""
    return child_saga(sequence(child_step("c1"), pivot(), child_step("c2", undo=False)), name=name)


def child_step(name: str, **options: Any) -> Any:
    """As `step`, in a saga that starts on `ChildBegun`."""
    return step(name, begun=ChildBegun, **options)


def child(
    name: str,
    saga: Saga,
    *,
    key: str | None = None,
    undo: bool = False,
    in_each: bool = False,
    in_line: bool = False,
    begun: Any = Begun,
    raises: Exception | None = None,
    undo_policy: dict[str, Any] | None = None,
    **options: Any,
) -> Subsaga:
    """Starts a process of `saga`.

    Args:
        key: The child's business key; default: the job's, and the name of the step. With `in_each`: and the element's.
        undo: A command undoes it.
        in_line: The key is made from the parent's own key, so that each parent has another child.
        begun: What starts the parent.
        raises: A bug of the saga's author: what the builder raises.
        options: What `subsaga` takes.
    """
    builder: Any
    if in_each:

        def builder(begun: begun, item: Item) -> ChildBegun:
            _raise(raises)
            return ChildBegun(child_id=f"{begun.job_id}-{key or name}-{item.number}", job_id=begun.job_id)

    else:

        def builder(begun: begun) -> ChildBegun:
            _raise(raises)
            around = getattr(begun, "child_id", begun.job_id) if in_line else begun.job_id
            return ChildBegun(child_id=key or f"{around}-{name}", job_id=begun.job_id)

    revert: Any
    if saga.returns is None:

        def revert(begun: begun) -> Revert:
            return Revert(job_id=begun.job_id, step=name)

    else:

        def revert(begun: begun, own: Annotated[Done | None, From(name)]) -> Revert:
            return Revert(job_id=begun.job_id, step=name, mark=own.mark if own else None)

    whole = Undo(revert, **(undo_policy or {})) if undo else None
    return subsaga(saga, builder, undo=whole, name=name, **options)


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
