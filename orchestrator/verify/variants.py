"""A saga with its decisions taken beforehand: one variant for every branch of every choice, so that all are explored.

The author's predicates are called all the same, for what they may raise; only their answer is another. A loop over
elements has at most two; a repeat has one round, and in a variant of its own as many as it may have, at most two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from orchestrator.language.blocks import Block, Parallel, Sequence, children_of
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, When
from orchestrator.language.saga import Saga
from orchestrator.language.signature import read_element
from orchestrator.language.waiting import WaitFor
from orchestrator.verify.samples import sample

ELEMENTS_MAX = 2
ROUNDS_MAX = 2
NEVER = -1
"""Of a choice without `otherwise`: no branch. Of a repeat: it is never enough."""

Taken = dict[int, int]
"""Number of a block, in the order that they are written -> what is decided there."""


@dataclass(frozen=True, slots=True)
class Variant:
    saga: Saga
    said: str
    """What was decided, for people; empty if nothing was."""


def variants(saga: Saga, key: str) -> Iterator[Variant]:
    """`key`: the business key that every awaited event is made to have."""
    seen: set[str] = set()
    for taken in ({}, *_decisions(saga)):
        rebuilder = _Rebuilder(taken, key)
        body = rebuilder.block(saga.body)
        cancelled = None if saga.cancelled is None else rebuilder.block(saga.cancelled)
        on_stuck = None if saga.on_stuck is None else rebuilder.block(saga.on_stuck)
        said = ", ".join(rebuilder.said)
        if said not in seen:
            seen.add(said)
            yield Variant(replace(saga, body=body, cancelled=cancelled, on_stuck=on_stuck), said)


def _decisions(saga: Saga) -> Iterator[Taken]:
    """Every other thing that may be decided once, with what must be decided around it to come there."""
    number = -1

    def walk(block: Block, around: Taken) -> Iterator[Taken]:
        nonlocal number
        number += 1
        here = number
        if isinstance(block, Choice):
            for place, branch in enumerate(block.branches):
                yield {**around, here: place}
                yield from walk(branch.block, {**around, here: place})
            if block.branches[-1].predicate is not None:
                yield {**around, here: NEVER}
            return
        if isinstance(block, Repeat):
            yield {**around, here: NEVER}
        for child in children_of(block):
            yield from walk(child, around)

    yield from walk(saga.body, {})
    if saga.cancelled is not None:
        yield from walk(saga.cancelled, {})
    if saga.on_stuck is not None:
        yield from walk(saga.on_stuck, {})


class _Rebuilder:
    def __init__(self, taken: Taken, key: str) -> None:
        self._taken = taken
        self._key = key
        self._number = -1
        self.said: list[str] = []

    def block(self, block: Block) -> Block:
        self._number += 1
        here = self._number
        if isinstance(block, Choice):
            return self._choice(block, self._taken.get(here, 0))
        if isinstance(block, Repeat):
            never = self._taken.get(here) == NEVER
            if never:
                self.said.append(f"{block.name} is never enough")
            bound = min(block.bound, ROUNDS_MAX) if never else block.bound
            return replace(block, body=self.block(block.body), until=_says(block.until, not never), bound=bound)
        if isinstance(block, ForEach):
            return replace(block, body=self.block(block.body), items=_few(block))
        if isinstance(block, Sequence | Parallel | Fallback):
            return replace(block, children=tuple(self.block(child) for child in block.children))
        if isinstance(block, WaitFor) and block.key is not None:
            return replace(block, key=_says(block.key, self._key))
        return block

    def _choice(self, block: Choice, chosen: int) -> Choice:
        if chosen == NEVER:
            self.said.append("no branch holds")
        elif block.branches[chosen].predicate is None:
            self.said.append("otherwise")
        else:
            self.said.append(f"{getattr(block.branches[chosen].predicate, '__name__', 'a predicate')} holds")
        branches = [self._branch(branch, place == chosen) for place, branch in enumerate(block.branches)]
        return replace(block, branches=tuple(branches))

    def _branch(self, branch: When, holds: bool) -> When:
        predicate = None if branch.predicate is None else _says(branch.predicate, holds)
        return replace(branch, predicate=predicate, block=self.block(branch.block))


def _says(function: Callable[..., Any], answer: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    def forced(*given: Any, **captured: Any) -> Any:
        function(*given, **captured)
        return answer

    return forced


def _few(block: ForEach) -> Callable[..., tuple[BaseModel, ...]]:
    count = min(ELEMENTS_MAX, block.bound)

    @functools.wraps(block.items)
    def few(**captured: Any) -> tuple[BaseModel, ...]:
        found = tuple(block.items(**captured))[:count]
        return found or (sample(read_element(block.items)),) * count

    return few
