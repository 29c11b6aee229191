"""In which order faults are injected, round after round: drawn from a seed. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.chaos.fault import Fault


@dataclass(frozen=True, slots=True)
class Turn:
    """One fault of one round, counted from 1. `seed` is the round's own: it draws the order of its faults, and the
    orders of its stacks."""

    round: int
    seed: int
    fault: Fault


def once_each(faults: Sequence[Fault], seed: int) -> tuple[Fault, ...]:
    """Every fault once, in an order that the seed decides; those that spoil a stack come last."""
    chance = random.Random(f"{seed}/schedule")
    return tuple(sorted(chance.sample(faults, len(faults)), key=lambda fault: fault.spoils))


def one_round(faults: Sequence[Fault], seed: int, number: int = 1) -> Iterator[Turn]:
    """The `number`-th round; its seed is `seed` for the first, one more for each that follows."""
    own = seed + number - 1
    yield from (Turn(number, own, fault) for fault in once_each(faults, own))


def for_ever(faults: Sequence[Fault], seed: int) -> Iterator[Turn]:
    """Round after round, each with a seed of its own."""
    for number in itertools.count(1):
        yield from one_round(faults, seed, number)
