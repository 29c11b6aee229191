"""Where every block stands, what has finished by then, and what may have been captured.

`finished`: blocks that have finished on every path that reaches the place; `certain` says what follows from that.
`possible`: steps whose outcome may have been captured by then. A step in a parallel sibling is possible; one in another
branch of a choice, in another alternative of a fallback (what it captured is not seen once it is given up), or a later
one, is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from orchestrator.language.blocks import (
    Block,
    CommandStep,
    Loop,
    Named,
    Parallel,
    Pivot,
    Returns,
    Sequence,
    Subsaga,
    children_of,
)
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, When
from orchestrator.language.saga import Saga
from orchestrator.language.waiting import Approval, WaitFor

Source = CommandStep | Subsaga | WaitFor | Approval
"""Blocks that capture something."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A block in its place."""

    block: Block
    path: str
    depth: int
    """0: the root of the body or of `cancelled`; 1: directly in it."""
    above: tuple[Block, ...]
    """The blocks around it, the outermost first."""
    cancelled: bool
    """In the `cancelled` block."""
    past_pivot: bool
    finished: tuple[Block, ...]
    possible: frozenset[str]
    alerting: bool = False
    """In the `on_stuck` block."""

    @property
    def parent(self) -> Block | None:
        return self.above[-1] if self.above else None

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops around it, the outermost first."""
        return tuple(block for block in self.above if isinstance(block, Loop))

    @property
    def guaranteed(self) -> frozenset[str]:
        """Steps that have succeeded on every path that reaches the place."""
        return frozenset(name for name in self.possible if _has_succeeded(self.finished, name))


def _has_succeeded(finished: tuple[Block, ...], name: str) -> bool:
    return any(certain(block, lambda step: step.name == name) for block in finished)


def certain(block: Block, holds: Callable[[Source], bool]) -> bool:
    """Once the block has finished, a step for which `holds` has succeeded, outside of any `for_each`."""
    if isinstance(block, Source):
        return holds(block)
    if isinstance(block, ForEach):
        return False  # there may be no element, and a single outcome of several elements is nobody's
    inside = [certain(child, holds) for child in children_of(block)]
    if isinstance(block, Choice):
        return block.branches[-1].predicate is None and all(inside)
    return all(inside) if isinstance(block, Fallback) else any(inside)


def names(block: Block) -> frozenset[str]:
    """All steps in a block that may capture an outcome."""
    if isinstance(block, Source):
        return frozenset((block.name,))
    return frozenset[str]().union(*(names(child) for child in children_of(block)))


@dataclass(frozen=True, slots=True)
class _Before:
    """What holds where a block begins."""

    finished: tuple[Block, ...]
    possible: frozenset[str]
    past_pivot: bool
    cancelled: bool
    alerting: bool = False

    def after(self, block: Block) -> _Before:
        past_pivot = self.past_pivot or _pivots(block)
        possible = self.possible | names(block)
        return replace(self, finished=(*self.finished, block), possible=possible, past_pivot=past_pivot)

    def beside(self, others: tuple[Block, ...]) -> _Before:
        """Those may have begun."""
        return replace(self, possible=self.possible.union(*(names(other) for other in others)))


def _pivots(block: Block) -> bool:
    return isinstance(block, Pivot) or any(_pivots(child) for child in children_of(block))


def walk_saga(saga: Saga) -> Iterator[Spot]:
    """Every block of a saga, each before those inside it."""
    yield from _walk(saga.body, (), "", _Before((), frozenset(), past_pivot=False, cancelled=False))
    if saga.cancelled is not None:
        last = _Before((), names(saga.body), past_pivot=False, cancelled=True)
        yield from _walk(saga.cancelled, (), "cancelled", last)
    if saga.result is not None:
        at_last = _Before((saga.body,), names(saga.body), past_pivot=_pivots(saga.body), cancelled=False)
        yield from _walk(saga.result, (), "", at_last)
    if saga.on_stuck is not None:
        every = names(saga.body) | (frozenset() if saga.cancelled is None else names(saga.cancelled))
        whenever = _Before((), every, past_pivot=False, cancelled=False, alerting=True)
        yield from _walk(saga.on_stuck, (), "on_stuck", whenever)


def _walk(block: Block, above: tuple[Block, ...], path: str, before: _Before) -> Iterator[Spot]:
    path = f"{path} > {titled(block)}" if path else titled(block)
    yield Spot(
        block, path, len(above), above, before.cancelled, before.past_pivot, before.finished, before.possible,
        before.alerting,
    )  # fmt: skip
    inside, children = (*above, block), children_of(block)
    for position, child in enumerate(children):
        way = f"{path} > {branch_name(block.branches[position])}" if isinstance(block, Choice) else path
        here = before
        if isinstance(block, Parallel):
            here = before.beside(children[:position] + children[position + 1 :])
        yield from _walk(child, inside, way, here)
        if isinstance(block, Sequence):
            before = before.after(child)


def titled(block: Block) -> str:
    """How a path names a block."""
    kind = {ForEach: "for_each ", Repeat: "repeat "}.get(type(block), "")
    return f"{kind}{block.name}" if isinstance(block, Named | Returns) else type(block).__name__.lower()


def branch_name(branch: When) -> str:
    return "otherwise" if branch.predicate is None else f"when {getattr(branch.predicate, '__name__', '?')}"
