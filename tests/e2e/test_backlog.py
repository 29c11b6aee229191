"""Orders that pile up while no automation runs: the orchestrator's queues stay within their limits, and all is worked
off once. The engine's limits are small here, so that 2,000 orders are many times what it may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.backlog import measure

pytestmark = pytest.mark.stack
ORDERS = 2_000
LIMITS = {"cache-processes": 2, "unstored-inputs": 200, "poll-records": 100}


def test_a_pile_is_held_by_the_log_and_worked_off(tmp_path: Path) -> None:
    found = measure(tmp_path / "stack", ORDERS, LIMITS)

    queues = found["queues"]
    assert queues.keys() == {"unstored_inputs", "cached_processes"}
    for name, queue in queues.items():
        assert 0 < queue["peak"] <= queue["limit"] < ORDERS, name
    assert found["commands"] > 3 * ORDERS  # the dispatches, releases and voids come on top
    assert found["problems"] == []
