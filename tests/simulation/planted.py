"""The proof of the net: which seed finds which planted fault, and the page that shows it.

`python -m tests.simulation --find-plants` finds the seeds anew after a change of what seeds stand for.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.plants import PLANTS
from tests.simulation.run import run_seed

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"
BEGINS, ENDS = "<!-- planted faults: begin -->", "<!-- planted faults: end -->"
DEFAULT_SEEDS = 2_000
"""Of `make simulate`: each planted fault must be found within them."""
PLANTED: dict[str, int] = {}
"""A seed that finds the planted fault (nearly always the first one)."""


def found_by(name: str, seeds: range) -> tuple[str, int, str | None]:
    """The planted fault, the first of the seeds that finds it, and what it sees (None: none does). The fault is planted
    in this OS process for good."""
    PLANTS[name]()
    for seed in seeds:
        violation = run_seed(seed).violation
        if violation is not None:
            return name, seed, violation
    return name, seeds.start, None


def check_plants(processes: int) -> Iterator[tuple[str, int, str | None]]:
    """Each fault of the table with its seed, in a forked process of its own."""
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(_check, PLANTED, chunksize=1)


def _check(name: str) -> tuple[str, int, str | None]:
    return found_by(name, range(PLANTED[name], PLANTED[name] + 1))


def find_plants(seeds: range, processes: int) -> Iterator[tuple[str, int, str | None]]:
    """Each fault there is with the first seed that finds it."""
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(partial(found_by, seeds=seeds), PLANTS, chunksize=1)


def page_with_table(page: str) -> str:
    """The page with the table of today."""
    head, _, rest = page.partition(BEGINS)
    _, _, tail = rest.partition(ENDS)
    return f"{head}{BEGINS}\n{table()}\n{ENDS}{tail}"


def table() -> str:
    """In Markdown, one row a fault."""
    rows = ["| planted fault | what it spoils | found by seed |", "|---|---|---|"]
    for name, seed in PLANTED.items():
        plant = PLANTS[name]
        where = "engine" if plant.__module__.endswith("plants_engine") else "runtime or SDK"
        about = " ".join((inspect.getdoc(plant) or "").split())
        rows.append(f"| {name.replace('_', ' ')} | {where}{f': {about}' if about else ''} | {seed} |")
    return "\n".join(rows)
