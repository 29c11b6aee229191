"""A short chaos run on the real stack: a fault that must be survived, and a planted loss that must be found."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from deploy.chaos.episode import Plan
from deploy.chaos.fault import Fault
from deploy.chaos.run import Chaos
from deploy.chaos.scene import Incident, Scene
from deploy.chaos.schedule import Turn
from deploy.chaos.table import named
from deploy.local.progress import silent

pytestmark = pytest.mark.stack
RATE = 20.0
SCALE = 0.1


async def charge_behind_its_back(scene: Scene, incident: Incident) -> None:
    """What must never happen: an order's card is charged a second time."""
    sandbox = scene.stack.endpoints.sandbox
    assert sandbox is not None
    order = next(effect["reference"] for effect in await _ledger(sandbox) if effect["kind"] == "charge")
    body = {"order_id": order, "amount_cents": 100, "currency": "USD", "payment_method": "pm_card"}
    async with httpx.AsyncClient(base_url=sandbox, trust_env=False) as client:
        answer = await client.post("/payment/charges", json=body, headers={"Idempotency-Key": "planted"})
        assert answer.status_code < 300, answer.text
    incident.note(f"charged {order} again")


async def _ledger(sandbox: str) -> list[dict[str, str]]:
    async with httpx.AsyncClient(base_url=sandbox, trust_env=False) as client:
        effects: list[dict[str, str]] = (await client.get("/ledger")).json()["effects"]
        return effects


PLANTED = Fault("planted-charge", "planted", "a card is charged twice", charge_behind_its_back)


async def test_faults_are_survived_and_a_planted_loss_is_found(tmp_path: Path) -> None:
    plan = Plan(RATE, SCALE, tmp_path, lambda: time.time_ns() // 1_000_000)
    faults = (*named(("redis-rewound",)), PLANTED)
    turns = [Turn(1, 11, fault) for fault in faults]
    async with Chaos(tmp_path / "stack", plan, lambda text: None, silent) as chaos:
        rows = [row async for row in chaos.rows(turns)]
    *survived, planted = rows
    for row in survived:
        assert row.status == "held", (row.fault, row.problems)
        assert row.reconciled
        assert row.recovery_seconds is not None
        assert row.completed + row.compensated == row.orders > 0
    assert planted.status == "failed"
    assert planted.reconciled is False
    assert any(problem.startswith("no effect twice: payment charge") for problem in planted.problems)
    assert any(problem.startswith("money: 1.00 too much") for problem in planted.problems)
    assert "money" in (tmp_path / "planted-charge" / "problems.txt").read_text()
    assert (tmp_path / "planted-charge" / "logs" / "engine.log").stat().st_size > 0
