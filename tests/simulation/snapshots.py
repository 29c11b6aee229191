"""The same worlds with snapshots: every orchestrator takes them every few seconds, and the store is lost and goes
back in time much more often. Whatever is restored must be what the log gives, byte for byte (the oracle sees every
checkpoint).

    python -m tests.simulation.snapshots FIRST COUNT
"""

from __future__ import annotations

import sys
from dataclasses import replace

from tests.simulation.chance import Chance
from tests.simulation.run import Outcome, run_scenario
from tests.simulation.scenario import HORIZON, WHERE, Fault, Scenario, scenario_of

KINDS = ("store-gone", "store-gone", "store-back", "kill-orchestrator", "zombie", "second-orchestrator", "cut")
PLACES = (*WHERE, "cover", "cover, answered", "restore", "finish_restore", "snapshots, read", "set_cut_state")


def lossy(seed: int) -> Scenario:
    """The world of a seed, with faults that concern the store and its owners."""
    scenario, random = scenario_of(seed), Chance(seed).stream("lossy faults")
    faults = [
        Fault(
            at=random.randrange(10, 3 * random.choice(HORIZON)),
            kind=random.choice(KINDS),
            where=random.choice(PLACES),
            pick=random.randrange(1_000),
            span_s=random.choice((0.1, 1.0, 10.0, 45.0)),
        )
        for _ in range(random.choice((2, 5, 10)))
    ]
    return replace(scenario, faults=tuple(sorted((*scenario.faults[:4], *faults), key=lambda fault: fault.at)))


def run_lossy(seed: int, *, traced: bool = False) -> Outcome:
    return run_scenario(lossy(seed), traced=traced, snapshots=True)


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2])
    for number in range(first, first + count):
        outcome = run_lossy(number, traced=len(sys.argv) > 3)
        if outcome.violation is not None or len(sys.argv) > 3:
            print(f"seed {number}: {outcome.violation}", *outcome.trace, sep="\n")
