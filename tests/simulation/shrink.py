"""Fewer faults, the same trouble: drops faults one at a time, while the run still fails."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.simulation.run import Outcome, run_scenario
from tests.simulation.scenario import Scenario, scenario_of

RUNS_MAX = 150


@dataclass(frozen=True, slots=True)
class Shrunk:
    """`dropped`: places in the seed's own schedule that are not needed."""

    scenario: Scenario
    dropped: tuple[int, ...]
    outcome: Outcome


def without(scenario: Scenario, dropped: tuple[int, ...]) -> Scenario:
    faults = tuple(fault for place, fault in enumerate(scenario.faults) if place not in dropped)
    return replace(scenario, faults=faults)


def shrink(seed: int) -> Shrunk:
    """Of a seed that fails. Halves of the schedule first, then single faults, until none can go."""
    whole = scenario_of(seed)
    dropped: tuple[int, ...] = ()
    runs = 0
    size = max(1, len(whole.faults) // 2)
    while True:
        smaller = False
        kept = [place for place in range(len(whole.faults)) if place not in dropped]
        for first in range(0, len(kept), size):
            trial = tuple(sorted({*dropped, *kept[first : first + size]}))
            runs += 1
            if runs <= RUNS_MAX and run_scenario(without(whole, trial)).violation is not None:
                dropped, smaller = trial, True
                break
        if runs > RUNS_MAX or (not smaller and size == 1):
            break
        if not smaller:
            size //= 2
    scenario = without(whole, dropped)
    return Shrunk(scenario, dropped, run_scenario(scenario, traced=True))
