"""Totals of all stock, to reconcile: `on_hand + reserved + dispatched` per sku is what it opened with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.inventory.opening import open_nothing
from services.inventory.stock import Level
from services.inventory.store_redis import RedisStock, open_client


@dataclass(slots=True)
class SkuTotals:
    """Units over all warehouses, and the levels they are summed from."""

    sku: str
    on_hand: int = 0
    reserved: int = 0
    dispatched: int = 0
    warehouses: list[Level] = field(default_factory=list)

    @property
    def units(self) -> int:
        return self.on_hand + self.reserved + self.dispatched

    def add(self, level: Level) -> None:
        self.on_hand += level.on_hand
        self.reserved += level.reserved
        self.dispatched += level.dispatched
        self.warehouses.append(level)


@dataclass(frozen=True, slots=True)
class StockReport:
    """By sku, sorted."""

    skus: tuple[SkuTotals, ...]

    @property
    def on_hand_units(self) -> int:
        return sum(one.on_hand for one in self.skus)

    @property
    def reserved_units(self) -> int:
        return sum(one.reserved for one in self.skus)

    @property
    def dispatched_units(self) -> int:
        return sum(one.dispatched for one in self.skus)

    def as_json(self) -> dict[str, Any]:
        """Plain data: totals over everything, then per sku, then per warehouse."""
        return {
            "on_hand_units": self.on_hand_units,
            "reserved_units": self.reserved_units,
            "dispatched_units": self.dispatched_units,
            "skus": [msgspec.to_builtins(one) for one in self.skus],
        }


async def report_of(levels: AsyncIterator[Level]) -> StockReport:
    """Sums levels. A consistent picture only while nothing changes."""
    totals: dict[str, SkuTotals] = {}
    seen: set[tuple[str, str]] = set()
    async for level in levels:
        # A scan may show an entry twice while Redis grows the hash.
        if (level.sku, level.warehouse) not in seen:
            seen.add((level.sku, level.warehouse))
            totals.setdefault(level.sku, SkuTotals(level.sku)).add(level)
    return StockReport(tuple(totals[sku] for sku in sorted(totals)))


async def read_report(redis_url: str) -> StockReport:
    """The stock in the services' Redis. Waits while it is away; bound it with a time limit."""
    async with open_client(redis_url) as client:
        return await report_of(RedisStock(client, open_nothing).levels())
