"""A process that really is stuck, repaired from the command line: the carrier fails after the point of no return."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.local.stack import Stack
from tests.cli.conftest import ORDER
from tests.cli.test_on_stack import as_json, counterpoint

pytestmark = pytest.mark.stack
SECONDS_MAX = 60.0
PROCESS = "order-fulfilment:o1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = Stack(tmp_path_factory.mktemp("whole"))
    found.up()
    try:
        yield found
    finally:
        found.down()


def summary(stack: Stack) -> dict[str, Any]:
    found: list[dict[str, Any]] = as_json(stack, "list")
    return next((one for one in found if one["process_id"] == PROCESS), {})


def wait_for(stack: Stack, phase: str) -> None:
    until = time.monotonic() + SECONDS_MAX
    while summary(stack).get("phase") != phase:
        assert time.monotonic() < until, counterpoint(stack, "show", PROCESS).stdout.decode()
        time.sleep(0.3)


def wait_for_label(outside: httpx.Client) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not outside.get("/ledger", params={"kind": "label"}).json()["effects"]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_stuck_process_is_shown_and_retried(stack: Stack) -> None:
    with httpx.Client(base_url=stack.endpoints.sandbox, trust_env=False) as outside:
        outside.post("/faults", json={"provider": "payment", "latency_ms": 2_500}).raise_for_status()
        as_json(stack, "publish", "orders.placed.v1", "-", stdin=ORDER.to_json())
        wait_for_label(outside)
        outside.post("/faults", json={"provider": "carrier", "error_rate": 1}).raise_for_status()
        wait_for(stack, "stuck")
        outside.delete("/faults").raise_for_status()

    story = counterpoint(stack, "show", PROCESS).stdout.decode()
    assert "stuck at dispatch" in story
    assert f"counterpoint retry {PROCESS}" in story
    refused = counterpoint(stack, "compensate", PROCESS)
    assert refused.returncode == 1
    assert b"point of no return" in refused.stderr
    assert counterpoint(stack, "retry", PROCESS, "--step", "charge").returncode == 1

    answer = as_json(stack, "retry", PROCESS, "--note", "the carrier is back")
    assert (answer["result"], answer["step"]) == ("applied", "dispatch")
    wait_for(stack, "completed")
    again = counterpoint(stack, "retry", PROCESS)
    assert again.returncode == 1
    assert b"is completed, not stuck" in again.stderr

    history = as_json(stack, "show", PROCESS)["history"]
    operator = next(entry for entry in history if entry["input"]["type"] == "orchestrator.operator-action.v1")
    assert operator["input"]["data"]["note"] == "the carrier is back"
    assert "the carrier is back" in counterpoint(stack, "show", PROCESS).stdout.decode()
