"""`python -m tests.simulation --seeds 2000`: runs seeds, shrinks what fails, prints its trace and how to replay it.

Exit codes: 0 all seeds are clean (or the planted fault was found), 1 not; with --coverage also 1 if something never
happened; 2 a name in --without that the seed does not have.
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
from tests.simulation.planted import PAGE, check_plants, find_plants, page_with_table
from tests.simulation.plants import PLANTS
from tests.simulation.run import Outcome, run_scenario, run_seed
from tests.simulation.scenario import scenario_of
from tests.simulation.shrink import shrink, without
from tests.simulation.telling import head, story

FAILURES_MAX = 5
"""Failing seeds that are reported in full; then the rest is left."""


def main(words: list[str]) -> int:
    options = _options(words)
    if options.check_plants or options.find_plants is not None or options.write_page:
        return _prove(options)
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
            _report(found.seed, options.plant)
        print(f"{options.plant}: {f'seed {found.seed}: {found.violation}' if found else 'NOT FOUND'}")
        return 0 if found else 1
    for outcome in failed[:FAILURES_MAX]:
        _report(outcome.seed, None)
    _summarise(outcomes, seconds)
    return max(int(bool(failed)), _show_coverage(outcomes) if options.coverage else 0)


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (default 200)")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--without", default="", help="leave these out: faults by place, o0, j1, blocks, ...")
    parser.add_argument("--verbose", action="store_true", help="with --seed: print the whole trace")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="with --plant: shrink and trace what it broke")
    parser.add_argument("--coverage", action="store_true", help="say how often each fault has happened")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="plant this fault in the product first")
    parser.add_argument(
        "--check-plants", action="store_true", help="prove each planted fault with its seed of the table"
    )
    parser.add_argument(
        "--find-plants", nargs="*", metavar="NAME", choices=[*PLANTS], help="find the seeds of these (of all) anew"
    )
    parser.add_argument("--write-page", action="store_true", help="renew the table in docs/simulation.md")
    return parser.parse_args(words)


def _prove(options: argparse.Namespace) -> int:
    """1: a fault is not found."""
    if options.write_page:
        PAGE.write_text(page_with_table(PAGE.read_text()))
        return 0
    seeds = range(options.start, options.start + options.seeds)
    names, processes = options.find_plants, options.processes
    proofs = check_plants(processes) if names is None else find_plants(names, seeds, processes)
    lost = 0
    for name, seed, violation in proofs:
        print(f'"{name}": {seed},  # {violation or "NOT FOUND"}', flush=True)
        lost += violation is None
    return int(bool(lost))


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
    dropped = tuple(name for name in left_out.split(",") if name)
    try:
        scenario = without(scenario_of(seed), dropped)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    outcome = run_scenario(scenario, traced=verbose)
    for line in (*head(scenario), *outcome.trace) if verbose else ():
        print(line)
    print(f"seed {seed}: {outcome.violation or 'clean'}; {outcome.inputs} inputs, {dict(outcome.phases)}")
    return 0 if outcome.violation is None else 1


def _report(seed: int, plant: str | None) -> None:
    shrunk = shrink(seed)
    print(f"\nseed {seed} fails: {shrunk.outcome.violation}")
    if shrunk.outcome.violation is not None:
        print("\n".join((*head(shrunk.scenario), *story(shrunk.outcome))))
    left_out = f" --without {','.join(shrunk.dropped)}" if shrunk.dropped else ""
    planted = f" --plant {plant}" if plant else ""
    print(f"replay: python -m tests.simulation --seed {seed}{left_out}{planted} --verbose\n")


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
