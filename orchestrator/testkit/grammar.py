"""Random sagas: every block of the language in every place that the grammar allows, bounded in depth and width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from pydantic import BaseModel

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
from orchestrator.language.waiting import Approval, WaitFor, yields_of
from orchestrator.testkit import lab_children
from orchestrator.testkit.lab import Done, Refused, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import each, pause, pause_until, predicate, rounds
from orchestrator.testkit.lab_waits import EVENTS, SIGNALS, Halted, decision, event_wait, job_of, signal_wait

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
LIMITS_S = (20, 60, 60, 240)
"""Of waits."""


class Yielded(NamedTuple):
    """What is there once a block is done, whatever happens. `many`: as a tuple. `captured`: what later builders ask
    for."""

    name: str
    many: bool
    captured: type[BaseModel]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block is grown. `finished`: what is there already."""

    depth: int
    before_pivot: bool
    finished: tuple[Yielded, ...] = ()
    loops: int = 0
    in_for_each: bool = False
    may_be_given_up: bool = False
    """Inside an alternative that is not the last one: what has no undo would stay done."""

    def deeper(self, **changes: Any) -> Place:
        return replace(self, depth=self.depth - 1, **changes)


def random_saga(random: Random, *, plain: bool = False, without: frozenset[str] = frozenset()) -> Saga:
    """A valid saga: what `verify` demands of it holds. `plain`: only blocks in which all that is written happens.
    `without`: names of kinds that the caller's world does not know (then the same chance makes the same saga as before
    there were such kinds)."""
    grower = _Grower(random, plain, without)
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
        cancelled_by=(Halted, job_of) if not plain and random.random() < 0.25 else None,
        deadline=random.choice((None, timedelta(seconds=50), timedelta(minutes=3), timedelta(hours=2))),
    )


def random_alerts(random: Random) -> Block:
    """For `on_stuck`: something is said at once, and perhaps again."""
    page = told("page")
    if random.random() < 0.5:
        return page
    wait = pause("unheard", timedelta(seconds=random.choice((1, 40))))
    return rounds(2, sequence(page, wait), counted=None, name="calls", bound=random.choice((1, 2)))


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


def yielded(block: Block) -> tuple[Yielded, ...]:
    """What is there once the block is done, whatever happens."""
    match block:
        case CommandStep(name=name) | Subsaga(name=name):
            return (Yielded(name, False, Done),)
        case WaitFor(name=name) | Approval(name=name):
            captured = yields_of(block)
            return () if captured is None else (Yielded(name, False, captured),)
        case Choice() | Fallback():
            return ()
        case ForEach(body=body):
            return tuple(one._replace(many=True) for one in yielded(body))
        case _:
            return tuple(one for child in children_of(block) for one in yielded(child))


def describe(block: Block) -> str:
    """One line, for traces."""
    inside = ", ".join(describe(child) for child in children_of(block))
    match block:
        case CommandStep():
            kind = "" if block.undo else "!" if block.irreversible else "~"
            return f"{block.name}{kind}{' held' if block.on_failure == 'hold' else ''}"
        case Subsaga():
            kind = "?" if block.undo else "!" if block.irreversible else ""
            return f"child {block.name}{kind}"
        case Emit(name=name):
            return f"emit {name}"
        case Sleep(name=name):
            return f"sleep {name}"
        case WaitFor(name=name, wants=wants, limit=limit):
            said = "observe" if block.choreographed else "wait_for"
            return f"{said} {name}({wants.__name__} within {limit.total_seconds():.0f} s)"
        case Approval(name=name, escalation=escalation):
            later = f", {escalation.role} after {escalation.after.total_seconds():.0f} s" if escalation else ""
            return f"approval {name}(within {block.limit.total_seconds():.0f} s{later})"
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


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of block. `grow` is given the grower and the place; `weight` says how often it is grown beside the other
    kinds of its saga. `plain`: all that is written in it happens, whatever is said and decided."""

    name: str
    grow: Callable[[_Grower, Place], Block]
    weight: int
    plain: bool = False


class _Grower:
    def __init__(self, random: Random, plain: bool, without: frozenset[str]) -> None:
        self._random = random
        self._without = without
        self._made = 0
        self._steps_max = random.choice(STEPS_MAX)
        self._around = self._some(AROUND, plain)
        self._leaves = self._some(LEAVES, plain)

    def _some(self, kinds: tuple[Kind, ...], plain: bool) -> tuple[Kind, ...]:
        """Those of this saga: the plain ones, and some of the others (a saga of few kinds goes deeper into each)."""
        others = [kind for kind in kinds if not (kind.plain or plain or kind.name in self._without)]
        chosen = self._random.sample(others, self._random.randint(0, len(others)))
        return (*(kind for kind in kinds if kind.plain), *chosen)

    def block(self, place: Place) -> Block:
        random = self._random
        if place.depth == 0 or self._made >= self._steps_max - 1 or random.random() < 0.25:
            return self._one_of(self._leaves, place)
        return self._one_of(self._around, place)

    def _one_of(self, kinds: tuple[Kind, ...], place: Place) -> Block:
        (kind,) = self._random.choices(kinds, [kind.weight for kind in kinds])
        return kind.grow(self, place)

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

    def _emit(self, place: Place) -> Block:
        return told(self._name("news-"), raises=self._bug())

    def _sleep(self, place: Place) -> Block:
        return pause(self._name("nap"), timedelta(seconds=self._random.choice((0, 1, 40, 100))))

    def _sleep_until(self, place: Place) -> Block:
        return pause_until(self._name("dawn"), raises=self._bug())

    def _event(self, place: Place) -> Block:
        return event_wait(self._random.choice(EVENTS), name=self._name("event"), limit=self._limit())

    def _signal(self, place: Place) -> Block:
        return signal_wait(self._random.choice(SIGNALS), name=self._name("signal"), limit=self._limit())

    def _approval(self, place: Place) -> Block:
        limit, random = self._limit(), self._random
        escalates_after = limit / random.choice((2, 4)) if random.random() < 0.5 else None
        name = self._name("approval")
        return decision(name, limit=limit, form=random.random() < 0.7, escalates_after=escalates_after)

    def _limit(self) -> timedelta:
        return timedelta(seconds=self._random.choice(LIMITS_S))

    def _child(self, place: Place) -> Subsaga:
        """One that undoes itself, is undone by a command, or stays done."""
        kind, name, bug = self._random.choice(("itself", "itself", "command", "stays")), self._name("kid"), self._bug()
        in_each = (
            place.in_for_each and place.loops == 1
        )  # elsewhere all rounds name one child: only the first starts it
        if kind == "itself":
            return lab_children.child(name, CHILD, raises=bug, in_each=in_each)
        policy = self._random.choice(UNDO_POLICIES)
        return lab_children.child(
            name, SURE_CHILD, undo=kind == "command", irreversible=kind == "stays", raises=bug, undo_policy=policy,
            in_each=in_each,
        )  # fmt: skip

    def _step(self, place: Place) -> CommandStep:
        random = self._random
        wanted: dict[str, Any] = {}
        if place.finished and random.random() < 0.4:
            earlier = random.choice(place.finished)
            wanted["needs_all" if earlier.many else "needs"] = earlier.name
            wanted["needed"] = earlier.captured
        undo = random.random() < (0.88 if place.before_pivot or place.may_be_given_up else 0.3)
        options = self._policies()
        if not undo and (place.before_pivot or place.may_be_given_up):
            options["irreversible"] = True
        policy = random.choice(UNDO_POLICIES)
        if random.random() < 0.08:
            options["on_failure"] = "hold"
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


AROUND: tuple[Kind, ...] = (
    Kind("sequence", _Grower._sequence, 2, plain=True),
    Kind("parallel", _Grower._parallel, 2, plain=True),
    Kind("choice", _Grower._choice, 2),
    Kind("for_each", _Grower._for_each, 2),
    Kind("repeat", _Grower._repeat, 2),
    Kind("fallback", _Grower._fallback, 5),
)
LEAVES: tuple[Kind, ...] = (
    Kind("command", _Grower._step, 30, plain=True),
    Kind("emit", _Grower._emit, 5, plain=True),
    Kind("sleep", _Grower._sleep, 4),
    Kind("sleep_until", _Grower._sleep_until, 2),
    Kind("wait_for event", _Grower._event, 12),
    Kind("wait_for signal", _Grower._signal, 12),
    Kind("approval", _Grower._approval, 12),
    Kind("subsaga", _Grower._child, 12),
)
"""All kinds of blocks: what is written here is in the random sagas of every test. A new kind is one row, its method,
and a line in `describe`; its meaning belongs in `structure.py` and `judge.py`."""
