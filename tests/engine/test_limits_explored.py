"""Random sagas with random limits: permits that come late, twice and out of order, and others that hold the places."""

from __future__ import annotations

from random import Random

import pytest

from orchestrator.testkit.explore import explore
from orchestrator.testkit.grammar import random_saga
from orchestrator.testkit.limited import with_limits

SEEDS = 1_000
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_every_process_comes_to_its_end_and_holds_nothing(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        random = Random(seed)
        try:
            explore(random, with_limits(random, random_saga(random)))
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}", pytrace=False)
