"""What the outside world and the shelves say when everything is at rest: the sandbox's ledger, inventory's levels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import httpx

from deploy.demo.evidence import LedgerEffect, StockLevel
from services.inventory.opening import open_local
from services.inventory.stock import Level
from services.inventory.store_redis import RedisStock, open_client

LEDGER_PATIENCE_SECONDS = 30


async def read_ledger(sandbox: str) -> tuple[LedgerEffect, ...]:
    """Every effect on the outside world, in the order in which they happened."""
    async with httpx.AsyncClient(base_url=sandbox, timeout=LEDGER_PATIENCE_SECONDS, trust_env=False) as client:
        answer = await client.get("/ledger")
        answer.raise_for_status()
        return tuple(LedgerEffect.of(row) for row in answer.json()["effects"])


async def read_levels(redis: str) -> tuple[Level, ...]:
    """What the inventory service's own store holds, per sku and warehouse."""
    client = open_client(redis)
    try:
        return tuple([level async for level in RedisStock(client, open_local).levels()])
    finally:
        await client.aclose()


def per_sku(levels: Iterable[Level]) -> tuple[StockLevel, ...]:
    """All warehouses of a sku together."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for level in levels:
        for place, units in enumerate((level.on_hand, level.reserved, level.dispatched)):
            sums[level.sku][place] += units
    return tuple(StockLevel(sku, *units) for sku, units in sorted(sums.items()))


def opening_units(skus: Iterable[str]) -> dict[str, int]:
    """What each sku held when it was first seen (FLOWS.md, outside systems)."""
    return {sku: sum(open_local(sku).values()) for sku in skus}
