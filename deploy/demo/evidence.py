"""What can be known about a run from outside, as values: the reconciliation's only input.

Orders and endings come from Kafka, effects from the outside world's own ledger, stock from the inventory's levels.
Amounts are integer cents, stock is in units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from contracts.orders import OrderPlaced


@dataclass(frozen=True, slots=True)
class LedgerEffect:
    """One thing that changed the outside world (`GET /ledger`). `reference` is the order's id."""

    provider: str
    kind: str
    reference: str
    idempotency_key: str
    data: Mapping[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> LedgerEffect:
        """Raises KeyError: the row is not a ledger's."""
        return cls(row["provider"], row["kind"], row["reference"], row["idempotency_key"], row["data"])

    @property
    def cents(self) -> int:
        """The amount of a charge or a refund."""
        return int(self.data["amount_cents"])


@dataclass(frozen=True, slots=True)
class StockLevel:
    """All warehouses of one sku together. `on_hand` counts free units."""

    sku: str
    on_hand: int
    reserved: int
    dispatched: int


Ending = Literal["fulfilled", "cancelled"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """`placed`: every order that started a process, by id. `endings`: what was announced about them on `orders.events`,
    every announcement once (by its message id)."""

    placed: Mapping[str, OrderPlaced]
    endings: Mapping[str, tuple[Ending, ...]]
    ledger: tuple[LedgerEffect, ...]
    stock: tuple[StockLevel, ...]
    opening: Mapping[str, int]
    """Units of each sku when it opened."""

    def ended(self, how: Ending) -> frozenset[str]:
        """Ids of the orders that ended this way."""
        return frozenset(order for order, endings in self.endings.items() if how in endings)
