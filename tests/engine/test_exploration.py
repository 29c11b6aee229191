"""Random sagas against random participants, operators and noise. `Random(seed)` is a whole run: a failing one prints
its trace, and `explore(Random(seed))` replays it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.engine.book import SagaBook
from orchestrator.language.blocks import Block, children_of
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from orchestrator.testkit.explore import Report, explore
from orchestrator.testkit.grammar import describe, random_saga, step_names
from orchestrator.testkit.structure import Structure

SEEDS = 1_600
PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_every_process_comes_to_its_end(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        try:
            explore(Random(seed))
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}", pytrace=False)


@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.randoms(use_true_random=False))
def test_hypothesis_finds_no_other_way(random: Random) -> None:
    explore(random)


def test_a_seed_is_a_whole_run() -> None:
    assert [explore(Random(seed)) for seed in range(20)] == [explore(Random(seed)) for seed in range(20)]


def test_the_explorer_goes_everywhere() -> None:
    reports = [explore(Random(seed)) for seed in range(200)]
    phases = Counter(report.phase for report in reports)
    assert all(phases[phase] >= 3 for phase in ("completed", "compensated", "cancelled", "stuck")), phases
    assert sum(report.ignored > 0 for report in reports) > 20
    assert sum(report.operator_actions > 0 for report in reports) > 20
    assert max(report.inputs for report in reports) > 40
    assert all(isinstance(report, Report) for report in reports)


def test_the_grammar_makes_every_block_at_every_depth() -> None:
    texts = [describe(random_saga(Random(seed)).body) for seed in range(SEEDS)]
    blocks = ("parallel(", "sequence(", "PIVOT", "emit", "!", "~", "parallel()", "parallel(sequence(parallel(")
    flow = ("choice(", "otherwise", "for_each", "repeat", "fallback(", "sleep", "odd")
    flow += ("child kid", "kid1?", "kid1!")
    nested = ("fallback(parallel(", "parallel(fallback(", "fallback(fallback(", "fallback(for_each")
    waits = ("wait_for event", "observe event", "wait_for signal", "approval", "chief after", " held")
    nested += ("parallel(wait_for", "fallback(wait_for", "fallback(approval", "otherwise: wait_for")
    for sign in blocks + flow + waits + nested:
        assert any(sign in text for text in texts), sign


def test_each_kind_of_block_is_in_many_sagas_and_three_deep() -> None:
    sagas = [random_saga(Random(seed)) for seed in range(SEEDS)]
    found = Counter(kind for saga in sagas for kind in {type(block).__name__ for block in saga.blocks()})
    flow = ("Choice", "ForEach", "Repeat", "Fallback", "Sleep", "WaitFor", "Approval", "Pivot", "Emit")
    assert all(found[kind] > SEEDS // 20 for kind in flow), found
    assert sum(saga.cancelled_by is not None for saga in sagas) > SEEDS // 10
    texts = [describe(saga.body) for saga in sagas]
    kinds = ("sequence(", "parallel(", "choice(", "for_each ", "repeat ", "fallback(")
    deep = {kind for kind in kinds for text in texts if f"({kind}" in text or f": {kind}" in text}
    assert deep == set(kinds)
    assert max(map(depth, (saga.body for saga in sagas))) >= 4


def depth(block: Block) -> int:
    """Blocks inside each other."""
    return 1 + max((depth(child) for child in children_of(block)), default=0)


def test_what_precedes_what() -> None:
    structure = Structure(SagaBook([ORDER_FULFILMENT]).plan(ORDER_FULFILMENT.name, ORDER_FULFILMENT.version))
    assert structure.parting("reserve", "charge")[1] is False
    assert structure.parting("charge", "dispatch")[1] and structure.parting("dispatch", "fulfilled")[1]
    assert structure.parting("dispatch", "charge")[1] is False


def test_random_sagas_are_different_and_can_be_compiled() -> None:
    sagas = [random_saga(Random(seed)) for seed in range(100)]
    assert len({describe(saga.body) for saga in sagas}) > 60
    for saga in sagas:
        SagaBook([saga])
        names = list(step_names(saga.body))
        assert len(set(names)) == len(names)
