"""The contracts are what FLOWS.md publishes: every type, field, option and outcome of the flows that are built."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from contracts import inventory, orders, payment, schedules, shipping
from contracts.catalog import Catalog
from contracts.message import Command, Message
from contracts.orders import OrderCancelled

ADDRESS = {"name", "street", "city", "postal_code", "country"}
PRICED = {"sku", "quantity", "unit_price_cents"}
PLAIN = {"sku", "quantity"}
ALLOCATED = {"sku", "quantity", "warehouse"}
MISSING = {"sku", "wanted", "available"}
TOTALS = {"sku", "on_hand", "reserved"}

FLOWS: dict[str, tuple[str, dict[str, set[str]]]] = {
    "orders.placed": (
        "order_id customer_id customer_email? lines total_cents currency ship_to payment_method placed_at?",
        {"lines": PRICED, "ship_to": ADDRESS},
    ),
    "orders.fulfilled": ("order_id customer_id customer_email? tracking_number dispatched_at", {}),
    "orders.cancelled": ("order_id customer_id customer_email? reason step?", {}),
    "inventory.reserve": ("order_id lines", {"lines": PLAIN}),
    "inventory.reserved": ("order_id reservation_id lines", {"lines": ALLOCATED}),
    "inventory.unavailable": ("order_id missing", {"missing": MISSING}),
    "inventory.release": ("order_id reservation_id?", {}),
    "inventory.released": ("order_id lines", {"lines": ALLOCATED}),
    "inventory.stock-changed": ("sku warehouse on_hand reserved revision changed_at", {}),
    "inventory.stock-report": ("schedule_id due_at totals", {"totals": TOTALS}),
    "payment.charge": ("order_id amount_cents currency payment_method", {}),
    "payment.captured": ("order_id payment_id amount_cents currency", {}),
    "payment.declined": ("order_id code", {}),
    "payment.refund": ("order_id payment_id?", {}),
    "payment.refunded": ("order_id amount_cents currency", {}),
    "shipping.create-label": ("order_id ship_to lines", {"lines": PLAIN, "ship_to": ADDRESS}),
    "shipping.label-created": ("order_id label_id carrier tracking_number", {}),
    "shipping.address-rejected": ("order_id reason", {}),
    "shipping.void-label": ("order_id label_id?", {}),
    "shipping.label-voided": ("order_id", {}),
    "shipping.dispatch": ("order_id label_id", {}),
    "shipping.dispatched": ("order_id tracking_number dispatched_at", {}),
    "schedules.tick": ("schedule_id due_at", {}),
}
OUTCOMES = {
    "inventory.reserve": ("inventory.reserved", "inventory.unavailable"),
    "inventory.release": ("inventory.released", None),
    "payment.charge": ("payment.captured", "payment.declined"),
    "payment.refund": ("payment.refunded", None),
    "shipping.create-label": ("shipping.label-created", "shipping.address-rejected"),
    "shipping.void-label": ("shipping.label-voided", None),
    "shipping.dispatch": ("shipping.dispatched", None),
}
CATALOG = Catalog.of((orders, inventory, payment, shipping, schedules))


def test_these_types_and_no_others() -> None:
    assert {message.type for message in CATALOG} == {f"{name}.v1" for name in FLOWS}


@pytest.mark.parametrize("name", FLOWS)
def test_the_fields(name: str) -> None:
    fields, nested = FLOWS[name]
    message = CATALOG.require(f"{name}.v1")
    assert " ".join(_field(message, field) for field in message.model_fields) == fields
    schema = message.model_json_schema()
    for field, inner in nested.items():
        part: dict[str, Any] = schema["properties"][field]
        reference = part.get("items", part)["$ref"].rsplit("/", 1)[1]
        assert set(schema["$defs"][reference]["properties"]) == inner == set(schema["$defs"][reference]["required"])


def _field(message: type[Message], field: str) -> str:
    return field if message.model_fields[field].is_required() else f"{field}?"


def test_the_outcomes() -> None:
    found = {
        command.type.removesuffix(".v1"): tuple(
            outcomes[0].type.removesuffix(".v1") if outcomes else None
            for outcomes in (command.succeeds, command.refuses)
        )
        for command in CATALOG.commands()
    }
    assert found == OUTCOMES
    assert all(len(command.succeeds) == 1 and len(command.refuses) <= 1 for command in CATALOG.commands())


def test_the_reasons_of_a_cancelled_order() -> None:
    reasons = get_args(OrderCancelled.model_fields["reason"].annotation)
    assert set(reasons) == {"refused", "failed", "silent", "deadline", "operator"}


def test_commands_are_commands() -> None:
    assert all(issubclass(CATALOG.require(f"{name}.v1"), Command) for name in OUTCOMES)
