"""The same trouble in a smaller world: leaves out faults, processes, people and blocks of the saga while the run still
fails. What is left out has a name, so that `--seed 42 --without 0,3,j1,sloppy,s4` replays exactly what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from orchestrator.engine.book import SagaBook
from orchestrator.engine.plan import PlanError
from orchestrator.language.blocks import Block, Named, Parallel, Sequence, children_of, sequence
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat
from orchestrator.language.saga import Saga
from orchestrator.testkit.limited import without_limits
from tests.simulation.run import Outcome, run_scenario
from tests.simulation.scenario import Scenario, scenario_of

RUNS_MAX = 200
OWN_FAILURE = "the run itself failed"

TRAITS: dict[str, Callable[[Scenario], Scenario]] = {
    "ghosts": lambda one: replace(one, ghosts=()),
    "snapshots": lambda one: replace(one, snapshots=False),
    "limits": lambda one: replace(one, saga=without_limits(one.saga)),
    "holders": lambda one: replace(one, holders=()),
    "intruders": lambda one: replace(one, intruders=()),
    "forgotten": lambda one: replace(one, saga=replace(one.saga, keep_ended=None)),
    "on-stuck": lambda one: replace(one, saga=replace(one.saga, on_stuck=None)),
    "operators": lambda one: replace(one, operator_actions=0),
    "talk": lambda one: replace(one, pace=replace(one.pace, talk=0)),
    "sloppy": lambda one: replace(one, pace=replace(one.pace, sloppy=0.0)),
    "jitter": lambda one: replace(one, pace=replace(one.pace, broker_jitter_ms=0)),
    "lab-trouble": lambda one: replace(one, pace=replace(one.pace, lab_trouble=0.0)),
    "order-trouble": lambda one: replace(one, pace=replace(one.pace, order_trouble=0.0)),
    "deadline": lambda one: replace(one, saga=replace(one.saga, deadline=None)),
    "halts": lambda one: replace(one, saga=replace(one.saga, cancelled_by=None)),
    "cancelled": lambda one: replace(one, saga=replace(one.saga, cancelled=None)),
}
"""What a world may do without, beside faults (by their places), orders (`o0`), jobs (`j0`) and blocks (by name)."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """`dropped`: names of what is not needed."""

    scenario: Scenario
    dropped: tuple[str, ...]
    outcome: Outcome


def without(scenario: Scenario, dropped: Iterable[str]) -> Scenario:
    """Raises ValueError: there is nothing of such a name; PlanError: a block is needed by another one."""
    names = set(dropped)
    known = {name for group in _groups(scenario) for name in group}
    if names - known:
        raise ValueError(f"seed {scenario.seed} has no {', '.join(sorted(names - known))}; it has {sorted(known)}")
    smaller = replace(
        scenario,
        faults=tuple(fault for place, fault in enumerate(scenario.faults) if str(place) not in names),
        orders=tuple(order for place, order in enumerate(scenario.orders) if f"o{place}" not in names),
        jobs=tuple(job for place, job in enumerate(scenario.jobs) if f"j{place}" not in names),
        saga=_pruned(scenario.saga, names),
    )
    for name, change in TRAITS.items():
        smaller = change(smaller) if name in names else smaller
    if smaller.saga is not scenario.saga:
        SagaBook([smaller.saga, *smaller.children])
    return smaller


def _groups(scenario: Scenario) -> tuple[list[str], ...]:
    """Names of what can be left out, in the order in which it is tried."""
    orders, jobs = range(len(scenario.orders)), range(len(scenario.jobs))
    return (
        [*(f"o{place}" for place in orders), *(f"j{place}" for place in jobs)],
        [str(place) for place in range(len(scenario.faults))],
        [name for name, change in TRAITS.items() if change(scenario) != scenario],
        [block.name for block in _blocks(scenario.saga.body) if isinstance(block, Named)],
    )


def _blocks(block: Block) -> Iterable[Block]:
    yield block
    for child in children_of(block):
        yield from _blocks(child)


def _pruned(saga: Saga, names: set[str]) -> Saga:
    if not any(isinstance(block, Named) and block.name in names for block in _blocks(saga.body)):
        return saga
    return replace(saga, body=_prune(saga.body, names))


def _prune(block: Block, names: set[str]) -> Block:
    """The block without those of these names; an empty sequence, if nothing is left."""
    if isinstance(block, Named) and block.name in names:
        return sequence()
    if isinstance(block, Choice):
        branches = tuple(replace(branch, block=_prune(branch.block, names)) for branch in block.branches)
        return replace(block, branches=branches)
    if isinstance(block, ForEach | Repeat):
        return replace(block, body=_prune(block.body, names))
    if isinstance(block, Fallback):
        return replace(block, children=tuple(_prune(child, names) for child in block.children))
    if isinstance(block, Sequence | Parallel):
        pruned = (_prune(child, names) for child in block.children)
        return replace(block, children=tuple(child for child in pruned if child != sequence()))
    return block


class _Shrinker:
    def __init__(self, seed: int) -> None:
        self.whole = scenario_of(seed)
        self.dropped: tuple[str, ...] = ()
        self._runs = 0

    def fails(self, dropped: tuple[str, ...]) -> bool:
        if self._runs >= RUNS_MAX:
            return False
        try:
            smaller = without(self.whole, dropped)
        except PlanError:
            return False
        if not smaller.process_ids:
            return False
        self._runs += 1
        violation = run_scenario(smaller).violation
        return violation is not None and OWN_FAILURE not in violation

    def drop(self, names: list[str]) -> None:
        """As many of these as can go: halves first, then smaller parts, then one at a time."""
        size = max(1, len(names) // 2)
        while names:
            gone: list[str] | None = None
            for first in range(0, len(names), size):
                part = names[first : first + size]
                if self.fails((*self.dropped, *part)):
                    gone = part
                    break
            if gone is not None:
                self.dropped = (*self.dropped, *gone)
                names = [name for name in names if name not in gone]
            elif size == 1:
                return
            else:
                size //= 2


def shrink(seed: int) -> Shrunk:
    """Of a seed that fails."""
    shrinker = _Shrinker(seed)
    smaller = True
    while smaller:  # with less of one group, less of another may be needed
        before = shrinker.dropped
        for names in _groups(shrinker.whole):
            shrinker.drop([name for name in names if name not in shrinker.dropped])
        smaller = shrinker.dropped != before
    scenario = without(shrinker.whole, shrinker.dropped)
    return Shrunk(scenario, shrinker.dropped, run_scenario(scenario, traced=True))
