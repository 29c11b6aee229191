"""In which order faults are injected: drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from deploy.chaos.fault import Fault


def once_each(faults: Sequence[Fault], seed: int) -> tuple[Fault, ...]:
    """Every fault once, in an order that the seed decides; those that spoil a stack come last."""
    chance = random.Random(f"{seed}/schedule")
    return tuple(sorted(chance.sample(faults, len(faults)), key=lambda fault: fault.spoils))


def for_ever(faults: Sequence[Fault], seed: int) -> Iterator[Fault]:
    """Round after round, each in another order: what can be run without spoiling a stack."""
    lasting = [fault for fault in faults if not fault.spoils]
    turn = 0
    while lasting:
        yield from once_each(lasting, seed + turn)
        turn += 1
