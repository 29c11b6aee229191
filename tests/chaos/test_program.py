"""`python -m deploy.chaos`, as far as it needs no stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from deploy.chaos.table import FAULTS


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.chaos", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_list_names_every_fault() -> None:
    done = run("--list", "--json")
    assert done.returncode == 0
    assert [row["fault"] for row in json.loads(done.stdout)] == [fault.name for fault in FAULTS]


def test_an_unknown_fault_is_a_usage_error_in_one_sentence(tmp_path: Path) -> None:
    done = run("--fault", "kill-nobody", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "There is no fault named 'kill-nobody'; `--list` shows them all.\n"
    assert list(tmp_path.iterdir()) == []
