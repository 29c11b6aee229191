"""`python -m tests.simulation --seeds 2000`: runs seeds, shrinks what fails, prints its trace and how to replay it.

Exit codes: 0 all seeds are clean (or the planted fault was found), 1 not; with --coverage also 1 if something never
happened.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing import get_context

from tests.simulation.coverage import missing, table
from tests.simulation.plants import PLANTS
from tests.simulation.run import Outcome, run_scenario, run_seed
from tests.simulation.scenario import scenario_of
from tests.simulation.shrink import shrink, without

FAILURES_MAX = 5
"""Failing seeds that are reported in full; then the rest is left."""
TRACE_LINES_MAX = 400


def main(words: list[str]) -> int:
    options = _options(words)
    if options.plant:
        PLANTS[options.plant]()
    if options.seed is not None:
        return _replay(options.seed, options.without, verbose=options.verbose)
    started = time.perf_counter()
    seeds = range(options.start, options.start + options.seeds)
    outcomes = _search(seeds, options.processes, stop_at_first=bool(options.plant))
    seconds = time.perf_counter() - started
    failed = [outcome for outcome in outcomes if outcome.violation is not None]
    if options.plant:
        found = failed[0] if failed else None
        if found and options.report:
            _report(found.seed)
        print(f"{options.plant}: {f'seed {found.seed}: {found.violation}' if found else 'NOT FOUND'}")
        return 0 if found else 1
    for outcome in failed[:FAILURES_MAX]:
        _report(outcome.seed)
    _summarise(outcomes, seconds)
    return max(int(bool(failed)), _show_coverage(outcomes) if options.coverage else 0)


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (default 200)")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--without", default="", help="leave these faults of its schedule out, e.g. 0,3,4")
    parser.add_argument("--verbose", action="store_true", help="with --seed: print the whole trace")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="with --plant: shrink and trace what it broke")
    parser.add_argument("--coverage", action="store_true", help="say how often each fault has happened")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="plant this fault in the product first")
    return parser.parse_args(words)


def _search(seeds: Iterable[int], processes: int, *, stop_at_first: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []

    def take(arriving: Iterable[Outcome]) -> None:
        for outcome in arriving:
            outcomes.append(outcome)
            failures = sum(one.violation is not None for one in outcomes)
            if failures >= (1 if stop_at_first else FAILURES_MAX):
                return

    if processes == 1 or stop_at_first:
        take(map(run_seed, seeds))
        return outcomes
    with get_context("fork").Pool(processes) as pool:
        take(pool.imap_unordered(run_seed, seeds, chunksize=8))
        pool.terminate()
    return sorted(outcomes, key=lambda outcome: outcome.seed)


def _replay(seed: int, left_out: str, *, verbose: bool) -> int:
    dropped = tuple(int(place) for place in left_out.split(",") if place)
    outcome = run_scenario(without(scenario_of(seed), dropped), traced=verbose)
    for line in outcome.trace:
        print(line)
    print(f"seed {seed}: {outcome.violation or 'clean'}; {outcome.inputs} inputs, {dict(outcome.phases)}")
    return 0 if outcome.violation is None else 1


def _report(seed: int) -> None:
    shrunk = shrink(seed)
    lines = shrunk.outcome.trace
    print(f"\nseed {seed} fails: {shrunk.outcome.violation}")
    print(f"faults needed ({len(shrunk.dropped)} of the schedule left out):")
    for fault in shrunk.scenario.faults:
        print(f"  {fault}")
    if len(lines) > TRACE_LINES_MAX:
        print(f"  ... {len(lines) - TRACE_LINES_MAX} earlier lines are left out")
    print("\n".join(lines[-TRACE_LINES_MAX:]))
    left_out = f" --without {','.join(map(str, shrunk.dropped))}" if shrunk.dropped else ""
    print(f"replay: python -m tests.simulation --seed {seed}{left_out} --verbose\n")


def _summarise(outcomes: list[Outcome], seconds: float) -> None:
    phases: Counter[str] = sum((outcome.phases for outcome in outcomes), Counter())
    inputs = sum(outcome.inputs for outcome in outcomes)
    hours = sum(outcome.virtual_s for outcome in outcomes) / 3600
    failed = sum(outcome.violation is not None for outcome in outcomes)
    print(
        f"{len(outcomes)} seeds in {seconds:.0f} s ({len(outcomes) / seconds:.1f} a second), {failed} failed;"
        f" {inputs} inputs, {hours:.0f} virtual hours, processes: {dict(sorted(phases.items()))}"
    )


def _show_coverage(outcomes: list[Outcome]) -> int:
    """1: something that was asked of the simulation has never happened."""
    print("\n".join(table([outcome.seen for outcome in outcomes])))
    never = missing(sum((outcome.seen for outcome in outcomes), Counter()))
    if never:
        print(f"never happened in these seeds: {'; '.join(never)}")
    return int(bool(never))


def run(program: Callable[[list[str]], int]) -> None:
    """A run is a function of its seed only under one order of hashes: start again with the order fixed."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(program(sys.argv[1:]))


if __name__ == "__main__":
    run(main)
