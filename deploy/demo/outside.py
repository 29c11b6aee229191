"""What the outside world and the shelves say when everything is at rest: the sandbox's ledger, inventory's report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpx

from deploy.demo.evidence import LedgerEffect, StockLevel
from services.inventory.opening import open_local
from services.inventory.report import StockReport, read_report

PATIENCE_SECONDS = 30


async def read_ledger(sandbox: str) -> tuple[LedgerEffect, ...]:
    """Every effect on the outside world, in the order in which they happened."""
    async with httpx.AsyncClient(base_url=sandbox, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        answer = await client.get("/ledger")
        answer.raise_for_status()
        return tuple(LedgerEffect.of(row) for row in answer.json()["effects"])


async def read_shelves(redis: str) -> StockReport:
    """What the inventory service's own store holds. Raises TimeoutError."""
    return await asyncio.wait_for(read_report(redis), PATIENCE_SECONDS)


def per_sku(report: StockReport) -> tuple[StockLevel, ...]:
    """All warehouses of a sku together."""
    return tuple(StockLevel(one.sku, one.on_hand, one.reserved, one.dispatched) for one in report.skus)


def opening_units(skus: Iterable[str]) -> dict[str, int]:
    """What each sku held when it was first seen (FLOWS.md, outside systems)."""
    return {sku: sum(open_local(sku).values()) for sku in skus}
