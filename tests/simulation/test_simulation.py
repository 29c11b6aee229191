"""A small set of seeds, the seeds that once found a bug of the product's, and the proof of the net.

The whole set is `make simulate SEEDS=2000`. Runs are made in programs of their own: a run is a function of its seed
only under one order of hashes, and a planted fault changes the product for good.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from random import Random

import pytest

from tests.simulation.planted import DEFAULT_SEEDS, PAGE, PLANTED, page_with_table
from tests.simulation.plants import PLANTS
from tests.simulation.scenario import scenario_of
from tests.simulation.total_loss import lose_everything
from tests.simulation.virtual_loop import VirtualLoop

SMALL = 60
RARE = 8
"""Rows of the table of coverage that may be empty for so few seeds; for 200 none is."""
FOUND_BUGS = {
    PLANTED[
        "polled_records_dropped_by_a_new_tenure"
    ]: "records polled while a tenure began were never handled (decision 0082)",
}


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "tests.simulation", *words]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(program, capture_output=True, text=True, env=environment, check=False, timeout=300)


def test_a_small_set_of_seeds_is_clean_and_goes_nearly_everywhere() -> None:
    result = simulate("--seeds", str(SMALL), "--coverage")
    assert " 0 failed;" in result.stdout, result.stdout[-8_000:] + result.stderr[-2_000:]
    never = result.stdout.partition("never happened in these seeds: ")[2].split("; ")
    assert len(never) <= RARE, never


@pytest.mark.parametrize("seed", FOUND_BUGS)
def test_a_seed_that_found_a_bug_is_clean(seed: int) -> None:
    result = simulate("--seed", str(seed))
    assert result.returncode == 0, result.stdout[-8_000:]


def test_a_seed_replays_exactly() -> None:
    first, second = simulate("--seed", "0", "--verbose"), simulate("--seed", "0", "--verbose")
    assert first.stdout == second.stdout
    assert len(first.stdout.splitlines()) > 50


@pytest.fixture(scope="module")
def proofs() -> dict[str, str]:
    """What each planted fault came to, by its name."""
    lines = simulate("--check-plants").stdout.splitlines()
    return {line.split('"')[1]: line.partition("# ")[2] for line in lines if line.startswith('"')}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found_by_its_seed(name: str, proofs: dict[str, str]) -> None:
    assert proofs[name] != "NOT FOUND", f"{name} is not found by seed {PLANTED[name]}: renew the table (--find-plants)"
    broken_down = re.search("has failed: (Type|Attribute)Error", proofs[name])
    assert broken_down is None, "a plant that does not fit the product any more proves nothing"


def test_there_are_enough_of_them_and_the_page_shows_them() -> None:
    assert len(PLANTS) >= 12 and PLANTED.keys() == PLANTS.keys()
    assert max(PLANTED.values()) < DEFAULT_SEEDS
    page = PAGE.read_text()
    assert page == page_with_table(page), "python -m tests.simulation --write-page"


def test_without_its_plant_none_of_these_seeds_finds_anything() -> None:
    """Else the fault would not be what was found."""
    seed = max(PLANTED.values())
    assert simulate("--seed", str(seed)).returncode == 0


def test_a_failing_seed_is_shrunk_told_and_can_be_replayed() -> None:
    name = "early_event_applied_twice"
    told = simulate("--plant", name, "--start", str(PLANTED[name]), "--seeds", "1", "--report").stdout
    assert "saga lab: " in told and "faults: none are needed" in told and "BROKEN: " in told
    assert len(told.splitlines()) < 40, "shrunk to the process, its saga and what was said to it"
    (command,) = re.findall(r"^replay: python -m tests.simulation (.*)$", told, re.MULTILINE)
    again = simulate(*command.split())
    assert again.returncode == 1 and "another block had captured" in again.stdout.splitlines()[-1]


def test_what_is_not_there_cannot_be_left_out() -> None:
    result = simulate("--seed", "1", "--without", "nobody")
    assert result.returncode == 2 and "has no nobody" in result.stderr


@pytest.mark.parametrize("seed", range(6))
def test_total_loss_is_refused(seed: int) -> None:
    assert set(lose_everything(seed)) == {"nothing-stored"}


def test_schedules_are_functions_of_the_seed() -> None:
    assert scenario_of(7).faults == scenario_of(7).faults
    assert scenario_of(7).orders == scenario_of(7).orders


def test_virtual_time_costs_nothing_and_keeps_its_order() -> None:
    loop, seen = VirtualLoop(Random(1)), []

    async def wait(hours: int) -> None:
        await asyncio.sleep(hours * 3600)
        seen.append(hours)

    async def all_of_them() -> None:
        await asyncio.gather(*(wait(hours) for hours in (3, 1, 2)))

    loop.run_until_complete(all_of_them())
    loop.close()
    assert seen == [1, 2, 3]
    assert loop.time() == 3 * 3600
