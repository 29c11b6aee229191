"""Random sagas: every block of the language in every place that the grammar allows, bounded in depth and width."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

from orchestrator.language.blocks import Block, CommandStep, Emit, Parallel, Sequence, parallel, pivot, sequence
from orchestrator.language.policies import Retry
from orchestrator.language.saga import Saga
from orchestrator.testkit.lab import Refused, lab_saga, step, told, told_ending

DEPTH_MAX = 3
WIDTH_MAX = 3
STEPS_MAX = (1, 1, 3, 8)
"""Commands and emits of one body, about: small sagas are run through soon, large ones nest."""
UNDO_POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"retry": Retry(attempts=1), "timeout": timedelta(seconds=40), "patience": timedelta(seconds=100)},
    {"retry": Retry(attempts=2), "timeout": timedelta(minutes=5), "patience": timedelta(minutes=9)},
)


def random_saga(random: Random) -> Saga:
    """A valid saga: what `verify` demands of it holds."""
    grower = _Grower(random)
    blocks = [grower.block(DEPTH_MAX, before_pivot=True, finished=()) for _ in range(random.randint(1, 2))]
    finished = tuple(name for block in blocks for name in step_names(block))
    if random.random() < 0.5:
        blocks.append(pivot())
        if random.random() < 0.85:
            blocks.append(grower.block(DEPTH_MAX - 1, before_pivot=False, finished=finished))
    return lab_saga(
        sequence(*blocks) if len(blocks) > 1 or random.random() < 0.5 else blocks[0],
        cancelled=grower.cancelled(),
        deadline=random.choice((None, timedelta(seconds=50), timedelta(minutes=3), timedelta(hours=2))),
    )


def step_names(block: Block) -> Iterator[str]:
    """Names of the command steps, in the order that they are written."""
    match block:
        case Sequence(children=children) | Parallel(children=children):
            for child in children:
                yield from step_names(child)
        case CommandStep(name=name):
            yield name
        case _:
            return


def predecessors(block: Block) -> dict[str, frozenset[str]]:
    """For every command and emit: the commands and emits that must have finished before it starts."""
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


def describe(block: Block) -> str:
    """One line, for traces."""
    match block:
        case Sequence(children=children):
            return f"sequence({', '.join(map(describe, children))})"
        case Parallel(children=children):
            return f"parallel({', '.join(map(describe, children))})"
        case CommandStep():
            kind = "" if block.undo else "!" if block.irreversible else "~"
            return f"{block.name}{kind}"
        case Emit(name=name):
            return f"emit {name}"
        case _:
            return "PIVOT"


class _Grower:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._made = 0
        self._steps_max = random.choice(STEPS_MAX)

    def block(self, depth: int, *, before_pivot: bool, finished: tuple[str, ...]) -> Block:
        random = self._random
        if depth == 0 or self._made >= self._steps_max - 1 or random.random() < 0.3:
            return self._leaf(before_pivot, finished)
        width = random.randint(0 if random.random() < 0.1 else 1, WIDTH_MAX)
        if random.random() < 0.5:
            return parallel(
                *[self.block(depth - 1, before_pivot=before_pivot, finished=finished) for _ in range(width)]
            )
        children: list[Block] = []
        for _ in range(width):
            child = self.block(depth - 1, before_pivot=before_pivot, finished=finished)
            children.append(child)
            finished = (*finished, *step_names(child))
        return sequence(*children)

    def cancelled(self) -> Block | None:
        chosen = self._random.random()
        if chosen < 0.4:
            return None
        if chosen < 0.7:
            return told_ending()
        return sequence(step("apologise", undo=False, **self._policies()), told_ending())

    def _leaf(self, before_pivot: bool, finished: tuple[str, ...]) -> Block:
        random = self._random
        self._made += 1
        if random.random() < 0.12:
            return told(f"news-{self._made}", raises=self._bug())
        needs = random.choice(finished) if finished and random.random() < 0.4 else None
        undo = random.random() < (0.88 if before_pivot else 0.3)
        options = self._policies()
        if before_pivot and not undo:
            options["irreversible"] = True
        policy = random.choice(UNDO_POLICIES)
        options |= {"raises": self._bug(), "undo_raises": self._bug(), "undo_policy": policy}
        return step(f"s{self._made}", undo=undo, needs=needs, **options)

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
