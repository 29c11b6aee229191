"""What is captured where, on random sagas, against the test kit's own account of what must come before what."""

from __future__ import annotations

from random import Random

import pytest

from orchestrator.language import CommandStep, Emit
from orchestrator.testkit.grammar import predecessors, random_saga
from orchestrator.verify.subject import Spot, Subject

SEEDS = 300


def named(spots: tuple[Spot, ...]) -> dict[str, Spot]:
    return {s.block.name: s for s in spots if isinstance(s.block, CommandStep | Emit) and not s.cancelled}


@pytest.mark.parametrize("chunk", range(3))
def test_guaranteed_is_what_must_have_finished_and_possible_is_what_is_not_later(chunk: int) -> None:
    for seed in range(chunk * SEEDS // 3, (chunk + 1) * SEEDS // 3):
        saga = random_saga(Random(seed), plain=True)
        before, spots = predecessors(saga.body), named(Subject(saga).spots)
        commands = {name for name, spot in spots.items() if isinstance(spot.block, CommandStep)}
        for name, spot in spots.items():
            assert spot.guaranteed == before[name] & commands, (seed, name)
            later = {other for other in commands if name in before[other]}
            assert spot.possible == commands - later - {name}, (seed, name)


def test_an_undo_may_see_every_step_of_the_body() -> None:
    for seed in range(SEEDS // 3):
        subject = Subject(random_saga(Random(seed), plain=True))
        commands = {name for name, spot in named(subject.spots).items() if isinstance(spot.block, CommandStep)}
        for call in subject.calls:
            if call.role == "undo" and not call.spot.cancelled:
                assert call.possible == commands
