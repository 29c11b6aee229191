"""Blocks that decide which blocks run, and how often: choice, for_each, repeat, fallback, sleep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.language.location import Location

if TYPE_CHECKING:
    from orchestrator.language.blocks import Block

BOUND_MAX = 10_000
"""Most elements or rounds of a loop: a process is one value in memory."""


def _caller() -> Location:
    frame = sys._getframe(2)
    return Location(frame.f_code.co_filename, frame.f_lineno)


@dataclass(frozen=True, slots=True)
class When:
    """One branch of a choice. `predicate` is pure; its parameters are injected like a builder's. None: otherwise."""

    predicate: Callable[..., bool] | None
    block: Block
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Choice:
    branches: tuple[When, ...]
    location: Location = field(compare=False)

    @property
    def children(self) -> tuple[Block, ...]:
        return tuple(branch.block for branch in self.branches)


@dataclass(frozen=True, slots=True)
class ForEach:
    name: str
    items: Callable[..., Any]
    body: Block
    bound: int
    concurrency: int
    location: Location = field(compare=False)

    @property
    def children(self) -> tuple[Block, ...]:
        return (self.body,)


@dataclass(frozen=True, slots=True)
class Repeat:
    name: str
    body: Block
    until: Callable[..., bool]
    bound: int
    location: Location = field(compare=False)

    @property
    def children(self) -> tuple[Block, ...]:
        return (self.body,)


@dataclass(frozen=True, slots=True)
class Fallback:
    children: tuple[Block, ...]
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Sleep:
    name: str
    duration: timedelta | None
    until: Callable[..., datetime] | None
    location: Location = field(compare=False)


def choice(*branches: When) -> Choice:
    """The first branch whose predicate holds; without one, `otherwise`; without that, nothing.

    Raises:
        ValueError: no branch, or an `otherwise` that is not the last.
    """
    if not branches or any(branch.predicate is None for branch in branches[:-1]):
        raise ValueError("a choice has at least one branch, and otherwise() comes last")
    return Choice(branches, _caller())


def when(predicate: Callable[..., bool], block: Block) -> When:
    """A branch of a choice."""
    return When(predicate, block, _caller())


def otherwise(block: Block) -> When:
    """The branch that is taken when no other is."""
    return When(None, block, _caller())


def for_each(
    items: Callable[..., Any], body: Block, *, bound: int, concurrency: int = 1, name: str | None = None
) -> ForEach:
    """The body once for each element that `items` returns, `concurrency` at a time.

    `items` is pure and annotated `-> tuple[Element, ...]`, where `Element` is a pydantic model; builders in the body
    ask for an `Element`. Outcomes of the body are injected afterwards as tuples, in element order. More than `bound`
    elements make the process stuck.

    Raises:
        ValueError: a bound outside 1 to BOUND_MAX, or a concurrency below 1.
    """
    if not 1 <= bound <= BOUND_MAX or concurrency < 1:
        raise ValueError(f"bound must be 1 to {BOUND_MAX} and concurrency at least 1, not {bound} and {concurrency}")
    return ForEach(name or items.__name__, items, body, bound, concurrency, _caller())


def repeat(body: Block, *, until: Callable[..., bool], bound: int, name: str | None = None) -> Repeat:
    """The body until the pure predicate `until` holds after a round; it sees the latest round's outcomes.
    A loop that is not done after `bound` rounds has failed.

    Raises:
        ValueError: a bound outside 1 to BOUND_MAX.
    """
    if not 1 <= bound <= BOUND_MAX:
        raise ValueError(f"bound must be 1 to {BOUND_MAX}, not {bound}")
    return Repeat(name or until.__name__, body, until, bound, _caller())


def fallback(*alternatives: Block) -> Fallback:
    """The first alternative; when one fails, the next starts at once, and what the failed one did is undone beside it.
    When the last one fails, the block has failed.

    Raises:
        ValueError: fewer than two alternatives.
    """
    if len(alternatives) < 2:
        raise ValueError("a fallback has at least two alternatives")
    return Fallback(alternatives, _caller())


def sleep(duration: timedelta, *, name: str) -> Sleep:
    """Wait for a span of time. Costs a timer and nothing else."""
    return Sleep(name, duration, None, _caller())


def sleep_until(moment: Callable[..., datetime], *, name: str | None = None) -> Sleep:
    """Wait for the moment that the pure function `moment` returns (with a UTC offset); a past one is now."""
    return Sleep(name or moment.__name__, None, moment, _caller())
