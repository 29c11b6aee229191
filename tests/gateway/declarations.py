"""Declarations that several tests use."""

from __future__ import annotations

from typing import Any

HEAD = """
[sources.shop]
scheme = "stripe"
secrets = ["SHOP_SECRET"]
event_id = "id"
[[sources.shop.events]]
"""
ORDERS = (
    HEAD
    + """
type = "orders.placed.v1"
when = { "type" = "order.created" }
[sources.shop.events.fields]
order_id = { path = "data.number", as = "text" }
customer_id = "data.customer"
total_cents = { path = "data.total", as = "cents" }
currency = { path = "data.currency", as = "upper" }
payment_method = { value = "pm_card" }
placed_at = { path = "data.created", as = "time-of-seconds", optional = true }
[sources.shop.events.fields.lines]
each = "data.items"
fields = { sku = "code", quantity = "count", unit_price_cents = { path = "price", as = "cents" } }
[sources.shop.events.fields.ship_to.fields]
name = "data.to.0"
street = "data.to.1"
city = "data.to.2"
postal_code = "data.to.3"
country = "data.to.4"
"""
)
SHOP_ORDER: dict[str, Any] = {
    "id": "evt_1",
    "type": "order.created",
    "data": {
        "number": 77,
        "customer": "c9",
        "items": [{"code": "tea", "count": 2, "price": "4.50"}, {"code": "milk", "count": 1, "price": 0.99}],
        "total": "9.99",
        "currency": "eur",
        "to": ["Ada", "1", "Turin", "10121", "IT"],
        "created": 1_800_000_000,
    },
}
