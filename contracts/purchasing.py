"""Purchasing: goods ordered from vendors."""

from __future__ import annotations

from contracts.message import Command, Event, Identifier, Quantity, Text, UtcTime


class PurchaseOrdered(Event, type="purchasing.ordered.v1"):
    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier
    vendor: Text
    expected_at: UtcTime


class VendorOutOfStock(Event, type="purchasing.vendor-out-of-stock.v1"):
    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier
    vendor: Text


class OrderPurchase(Command, type="purchasing.order.v1", succeeds=PurchaseOrdered, refuses=VendorOutOfStock):
    """One purchase order at one vendor; another vendor is another `purchase_id`."""

    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier
    vendor: Text
    quantity: Quantity


class PurchaseCancelled(Event, type="purchasing.cancelled.v1"):
    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier


class CancelPurchase(Command, type="purchasing.cancel.v1", succeeds=PurchaseCancelled):
    """Cancelling what never arrived at the vendor is a success."""

    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier


class GoodsReceived(Event, type="purchasing.goods-received.v1"):
    """Said by the vendor's webhook, or by a person at the dock."""

    sku: Identifier
    occurrence: Identifier
    purchase_id: Identifier
    quantity: Quantity
    warehouse: Text
