"""Random sagas: every block of the language in every place that the grammar allows, bounded in depth and width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

from orchestrator.language.blocks import (
    Block,
    CommandStep,
    Emit,
    Parallel,
    Sequence,
    Subsaga,
    children_of,
    parallel,
    pivot,
    sequence,
)
from orchestrator.language.flow import (
    Choice,
    Fallback,
    ForEach,
    Repeat,
    Sleep,
    choice,
    fallback,
    otherwise,
    when,
)
from orchestrator.language.policies import Retry
from orchestrator.language.saga import Saga
from orchestrator.testkit import lab_children
from orchestrator.testkit.lab import Refused, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import each, pause, pause_until, predicate, rounds

DEPTH_MAX = 3
WIDTH_MAX = 3
STEPS_MAX = (1, 3, 5, 9)
"""Commands and emits of one body, about: small sagas are run through soon, large ones nest."""
LOOPS_MAX = 2
"""Loops inside each other: the steps of a run grow with their product."""
UNDO_POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"retry": Retry(attempts=1), "timeout": timedelta(seconds=40), "patience": timedelta(seconds=100)},
    {"retry": Retry(attempts=2), "timeout": timedelta(minutes=5), "patience": timedelta(minutes=9)},
)
CHILD, SURE_CHILD = lab_children.child_saga(), lab_children.pivoted_child()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block is grown. `finished`: steps whose outcomes are there, and whether they are there as tuples."""

    depth: int
    before_pivot: bool
    finished: tuple[tuple[str, bool], ...] = ()
    loops: int = 0
    in_for_each: bool = False
    may_be_given_up: bool = False
    """Inside an alternative that is not the last one: what has no undo would stay done."""

    def deeper(self, **changes: Any) -> Place:
        return replace(self, depth=self.depth - 1, **changes)


def random_saga(random: Random, *, plain: bool = False) -> Saga:
    """A valid saga: what `verify` demands of it holds. `plain`: only blocks in which all that is written happens."""
    grower = _Grower(random, plain)
    place = Place(DEPTH_MAX, before_pivot=True)
    blocks = []
    for _ in range(random.randint(1, 2)):
        blocks.append(grower.block(place))
        place = replace(place, finished=place.finished + yielded(blocks[-1]))
    if random.random() < 0.5:
        blocks.append(pivot())
        if random.random() < 0.85:
            blocks.append(grower.block(replace(place, depth=DEPTH_MAX - 1, before_pivot=False)))
    return lab_saga(
        sequence(*blocks) if len(blocks) > 1 or random.random() < 0.5 else blocks[0],
        cancelled=grower.cancelled(),
        deadline=random.choice((None, timedelta(seconds=50), timedelta(minutes=3), timedelta(hours=2))),
    )


def step_names(block: Block) -> Iterator[str]:
    """Names of the command steps, in the order that they are written."""
    if isinstance(block, CommandStep):
        yield block.name
    for inside in children_of(block):
        yield from step_names(inside)


def predecessors(block: Block) -> dict[str, frozenset[str]]:
    """For every command and emit of a plain body: the commands and emits that must have finished before it starts."""
    found: dict[str, frozenset[str]] = {}
    _order(block, frozenset(), found)
    return found


def _order(block: Block, before: frozenset[str], found: dict[str, frozenset[str]]) -> frozenset[str]:
    """Returns what has finished once `block` has."""
    match block:
        case Sequence(children=children):
            for child in children:
                before = _order(child, before, found)
            return before
        case Parallel(children=children):
            return before.union(*(_order(child, before, found) for child in children))
        case CommandStep(name=name) | Emit(name=name):
            found[name] = before
            return before | {name}
        case _:
            return before


def yielded(block: Block) -> tuple[tuple[str, bool], ...]:
    """Steps whose outcomes are there once the block is done, whatever happens; True: as a tuple."""
    match block:
        case CommandStep(name=name) | Subsaga(name=name):
            return ((name, False),)
        case Choice() | Fallback():
            return ()
        case ForEach(body=body):
            return tuple((name, True) for name, _ in yielded(body))
        case _:
            return tuple(one for child in children_of(block) for one in yielded(child))


def describe(block: Block) -> str:
    """One line, for traces."""
    inside = ", ".join(describe(child) for child in children_of(block))
    match block:
        case CommandStep():
            kind = "" if block.undo else "!" if block.irreversible else "~"
            return f"{block.name}{kind}"
        case Subsaga():
            kind = "?" if block.undo else "!" if block.irreversible else ""
            return f"child {block.name}{kind}"
        case Emit(name=name):
            return f"emit {name}"
        case Sleep(name=name):
            return f"sleep {name}"
        case Choice(branches=branches):
            asked = (branch.predicate.__name__ if branch.predicate else "otherwise" for branch in branches)
            return (
                "choice("
                + ", ".join(f"{one}: {describe(b.block)}" for one, b in zip(asked, branches, strict=True))
                + ")"
            )
        case ForEach(name=name, items=items, concurrency=concurrency):
            return f"for_each {name}({items.__name__}, {concurrency} at a time: {inside})"
        case Repeat(name=name, until=until, bound=bound):
            return f"repeat {name}({until.__name__} of {bound}: {inside})"
        case Sequence() | Parallel() | Fallback():
            return f"{type(block).__name__.lower()}({inside})"
        case _:
            return "PIVOT"


class _Grower:
    def __init__(self, random: Random, plain: bool) -> None:
        self._random = random
        self._made = 0
        self._steps_max = random.choice(STEPS_MAX)
        self._kinds = [random.choice((self._sequence, self._parallel)) for _ in range(2)]
        self._plain = plain
        if not plain:
            flow = (self._choice, self._for_each, self._repeat, self._fallback, self._fallback)
            self._kinds += random.sample(flow, random.randint(0, 4))

    def block(self, place: Place) -> Block:
        random = self._random
        if place.depth == 0 or self._made >= self._steps_max - 1 or random.random() < 0.25:
            return self._leaf(place)
        return random.choice(self._kinds)(place)

    def _width(self) -> int:
        return self._random.randint(0 if self._random.random() < 0.1 else 1, WIDTH_MAX)

    def _parallel(self, place: Place) -> Block:
        return parallel(*[self.block(place.deeper()) for _ in range(self._width())])

    def _sequence(self, place: Place) -> Block:
        return self._in_order(place, self._width())

    def _in_order(self, place: Place, width: int, *first: Block) -> Block:
        children = list(first)
        for _ in range(width):
            finished = place.finished + tuple(one for child in children for one in yielded(child))
            children.append(self.block(place.deeper(finished=finished)))
        return sequence(*children)

    def _choice(self, place: Place) -> Block:
        names = ("always", "never", "odd", "odd") if place.in_for_each else ("always", "never")
        branches = [
            when(predicate(self._random.choice(names), raises=self._bug()), self.block(place.deeper()))
            for _ in range(self._random.randint(1, 2))
        ]
        if self._random.random() < 0.5:
            branches.append(otherwise(self.block(place.deeper())))
        return choice(*branches)

    def _for_each(self, place: Place) -> Block:
        if place.loops == LOOPS_MAX:
            return self._sequence(place)
        random, name = self._random, self._name("each")
        count, concurrency = random.choice((0, 1, 2, 3, 4, 5)), random.choice((1, 1, 2, 2, 3, 9))
        bound = count - 1 if count > 1 and random.random() < 0.03 else max(count, 1)
        body = self.block(place.deeper(loops=place.loops + 1, in_for_each=True))
        return each(count, body, name=name, concurrency=concurrency, bound=bound, raises=self._bug())

    def _repeat(self, place: Place) -> Block:
        if place.loops == LOOPS_MAX:
            return self._sequence(place)
        random, name = self._random, self._name("rep")
        if random.random() < 0.3:
            body = self.block(place.deeper(loops=place.loops + 1))
            return rounds(random.choice((1, 2)), body, counted=None, name=name, bound=random.choice((1, 2)))
        counted = self._step(place)
        body = self._in_order(place.deeper(loops=place.loops + 1), random.randint(0, 1), counted)
        count = random.choice((1, 2, 2, 3))
        bound = count if random.random() < 0.8 else max(1, count - 1)
        return rounds(count, body, counted=counted.name, name=name, bound=bound, raises=self._bug())

    def _fallback(self, place: Place) -> Block:
        first = [self.block(place.deeper(may_be_given_up=True)) for _ in range(self._random.choice((1, 1, 2)))]
        return fallback(*first, self.block(place.deeper()))

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}{self._made}"

    def cancelled(self) -> Block | None:
        chosen = self._random.random()
        if chosen < 0.4:
            return None
        if chosen < 0.7:
            return told_ending()
        return sequence(step("apologise", undo=False, **self._policies()), told_ending())

    def _leaf(self, place: Place) -> Block:
        random = self._random
        chosen = random.random()
        if chosen < 0.12:
            return told(self._name("news-"), raises=self._bug())
        if chosen < 0.2 and not self._plain:
            return pause(self._name("nap"), timedelta(seconds=random.choice((0, 1, 40, 100))))
        if chosen < 0.23 and not self._plain:
            return pause_until(self._name("dawn"), raises=self._bug())
        if chosen < 0.33 and not self._plain:
            return self._child()
        return self._step(place)

    def _child(self) -> Subsaga:
        """One that undoes itself, is undone by a command, or stays done."""
        kind, name, bug = self._random.choice(("itself", "itself", "command", "stays")), self._name("kid"), self._bug()
        if kind == "itself":
            return lab_children.child(name, CHILD, raises=bug)
        policy = self._random.choice(UNDO_POLICIES)
        return lab_children.child(
            name, SURE_CHILD, undo=kind == "command", irreversible=kind == "stays", raises=bug, undo_policy=policy
        )

    def _step(self, place: Place) -> CommandStep:
        random = self._random
        wanted: dict[str, Any] = {}
        if place.finished and random.random() < 0.4:
            name, many = random.choice(place.finished)
            wanted["needs_all" if many else "needs"] = name
        undo = random.random() < (0.88 if place.before_pivot or place.may_be_given_up else 0.3)
        options = self._policies()
        if not undo and (place.before_pivot or place.may_be_given_up):
            options["irreversible"] = True
        policy = random.choice(UNDO_POLICIES)
        options |= {"raises": self._bug(), "undo_raises": self._bug(), "undo_policy": policy}
        return step(self._name("s"), undo=undo, **wanted, **options)

    def _bug(self) -> Exception | None:
        return LookupError("a bug of the author's") if self._random.random() < 0.01 else None

    def _policies(self) -> dict[str, Any]:
        random = self._random
        retry = Retry(
            attempts=random.choice((1, 2, 3, 3)),
            first=timedelta(seconds=random.choice((0, 1, 30))),
            on=(Refused,) if random.random() < 0.2 else (),
        )
        timeout, patience = random.choice(((30, 75), (60, 60), (90, 200)))
        return {"retry": retry, "timeout": timedelta(seconds=timeout), "patience": timedelta(seconds=patience)}
