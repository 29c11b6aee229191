"""The main job, small: it reconciles, also when the orchestrator is killed in the middle of the load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack
SECONDS_MAX = 300


def run_demo(data: Path, *options: str) -> dict[str, int]:
    command = [sys.executable, "-m", "deploy.demo", "--data", str(data), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    report: dict[str, int] = json.loads((data / "report.json").read_text())
    return report


def assert_reconciled(report: dict[str, int], orders: int) -> None:
    assert report["orders"] == orders
    assert report["completed"] + report["compensated"] + report["stuck"] == orders
    assert report["stuck"] == 0
    assert report["compensated"] > 0
    assert report["captured_cents"] - report["refunded_cents"] == report["fulfilled_value_cents"]
    assert report["labels_open"] == report["reserved_units"] == report["double_effects"] == 0


def test_the_demo_reconciles(tmp_path: Path) -> None:
    assert_reconciled(run_demo(tmp_path / "demo", "--orders", "80", "--seed", "11"), 80)


def test_the_demo_reconciles_when_the_orchestrator_is_killed_under_load(tmp_path: Path) -> None:
    report = run_demo(tmp_path / "demo", "--orders", "150", "--seed", "12", "--chaos", "kill-orchestrator")
    assert_reconciled(report, 150)
