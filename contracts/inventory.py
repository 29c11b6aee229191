"""Inventory: stock per warehouse, reserved for orders."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contracts.message import Command, Event, Identifier, Quantity, Text, Units, UtcTime
from contracts.orders import LINES_MAX


class StockLine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: Identifier
    quantity: Quantity


class AllocatedLine(BaseModel):
    """Units of one sku in one warehouse; an order's line may be spread over several."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: Identifier
    quantity: Quantity
    warehouse: Text


class MissingLine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: Identifier
    wanted: Quantity
    available: Units


class StockReserved(Event, type="inventory.reserved.v1"):
    order_id: Identifier
    reservation_id: Text
    lines: tuple[AllocatedLine, ...]


class StockUnavailable(Event, type="inventory.unavailable.v1"):
    order_id: Identifier
    missing: Annotated[tuple[MissingLine, ...], Field(min_length=1)]


class ReserveStock(Command, type="inventory.reserve.v1", succeeds=StockReserved, refuses=StockUnavailable):
    """All or nothing over the lines."""

    order_id: Identifier
    lines: Annotated[tuple[StockLine, ...], Field(min_length=1, max_length=LINES_MAX)]


class StockReleased(Event, type="inventory.released.v1"):
    """`lines` is empty if nothing was left to release."""

    order_id: Identifier
    lines: tuple[AllocatedLine, ...]


class ReleaseStock(Command, type="inventory.release.v1", succeeds=StockReleased):
    order_id: Identifier
    reservation_id: Text | None = None


class StockChanged(Event, type="inventory.stock-changed.v1"):
    """`on_hand` counts free units, reserved ones not included. `revision` rises by one per sku and warehouse in the
    change itself; readers keep the highest. Also published when a sku opens."""

    sku: Identifier
    warehouse: Text
    on_hand: Units
    reserved: Units
    revision: Units
    changed_at: UtcTime


class RestockNeeded(Event, type="inventory.restock-needed.v1"):
    """Once per fall below the reorder point. `occurrence` is the id of the `stock-changed` event that crossed it."""

    sku: Identifier
    occurrence: Identifier
    on_hand: Units
    reorder_point: Units
    reorder_quantity: Quantity


class GoodsBooked(Event, type="inventory.received.v1"):
    """`on_hand`: free units of the sku in that warehouse after the booking."""

    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier
    on_hand: Units


class ReceiveGoods(Command, type="inventory.receive.v1", succeeds=GoodsBooked):
    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier
    quantity: Quantity
    warehouse: Text


class StockTotal(BaseModel):
    """Over all warehouses."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: Identifier
    on_hand: Units
    reserved: Units


class StockReport(Event, type="inventory.stock-report.v1"):
    schedule_id: Identifier
    due_at: UtcTime
    totals: tuple[StockTotal, ...]
