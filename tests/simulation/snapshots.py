"""The same worlds with snapshots: every orchestrator takes them every few seconds, and the store is lost and goes
back in time much more often. Whatever is restored must be what the log gives, byte for byte (the oracle sees every
checkpoint).

    PYTHONHASHSEED=0 python -m tests.simulation.snapshots FIRST COUNT [--plant NAME] [--verbose]
"""

from __future__ import annotations

import sys
from dataclasses import replace

from orchestrator.runtime.mending import Mending
from orchestrator.runtime.snapshot_store import Uncovered
from orchestrator.runtime.snapshot_store_memory import MemorySnapshots
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


def _nothing_is_ahead() -> None:
    """A restored snapshot is used without its offset: inputs that it has in it are folded once more."""

    async def ahead(self: Mending, number: int, position: int) -> dict[str, int]:
        return {}

    Mending.ahead = ahead  # type: ignore[method-assign]


def _cut_over_a_lost_store() -> None:
    """That no process is uncovered is believed of a store that has lost everything."""
    inner = MemorySnapshots.uncovered

    async def uncovered(self: MemorySnapshots, shard: int, below: int, limit: int) -> Uncovered:
        return replace(await inner(self, shard, below, limit), next=below)

    MemorySnapshots.uncovered = uncovered  # type: ignore[method-assign]


PLANTS = {
    "nothing-is-ahead": _nothing_is_ahead,
    "cut-over-a-lost-store": _cut_over_a_lost_store,
}


def main(first: int, count: int, *options: str) -> int:
    """Exit code 1: a run has failed. Options: `--plant NAME`, `--verbose`."""
    if "--plant" in options:
        PLANTS[options[options.index("--plant") + 1]]()
    verbose, failed = "--verbose" in options, False
    for number in range(first, first + count):
        outcome = run_lossy(number, traced=verbose)
        failed |= outcome.violation is not None
        if outcome.violation is not None or verbose:
            print(f"seed {number}: {outcome.violation}", *outcome.trace, sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
