"""Worlds that take snapshots and lose their store: sound, and each planted fault is found by its seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 12
FOUND_BY = {"nothing-is-ahead": 29, "cut-over-a-lost-store": 16}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation.snapshots", *options]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_what_is_restored_is_what_the_log_gives() -> None:
    result = run("0", str(SEEDS))
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("plant", FOUND_BY)
def test_a_planted_fault_is_found_by_its_seed(plant: str) -> None:
    seed = str(FOUND_BY[plant])
    assert run(seed, "1").returncode == 0
    result = run(seed, "1", "--plant", plant)
    assert result.returncode == 1 and f"seed {seed}: " in result.stdout
