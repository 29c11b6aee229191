"""The contracts are what FLOWS.md publishes: every type, field, option and outcome of the business flows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import pytest

from contracts.catalog import CONTEXTS, Catalog
from contracts.message import Command, Message
from contracts.orders import OrderCancelled

ADDRESS = {"name", "street", "city", "postal_code", "country"}
PRICED = {"sku", "quantity", "unit_price_cents"}
PLAIN = {"sku", "quantity"}
ALLOCATED = {"sku", "quantity", "warehouse"}
MISSING = {"sku", "wanted", "available"}

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
    "inventory.restock-needed": ("sku occurrence on_hand reorder_point reorder_quantity", {}),
    "purchasing.order": ("sku occurrence purchase_id vendor quantity", {}),
    "purchasing.ordered": ("sku occurrence purchase_id vendor expected_at", {}),
    "purchasing.vendor-out-of-stock": ("sku occurrence purchase_id vendor", {}),
    "purchasing.cancel": ("sku occurrence purchase_id", {}),
    "purchasing.cancelled": ("sku occurrence purchase_id", {}),
    "purchasing.goods-received": ("sku occurrence purchase_id quantity warehouse", {}),
    "storefront.mark": ("sku availability", {}),
    "storefront.marked": ("sku availability previous", {}),
    "inventory.receive": ("sku occurrence purchase_id quantity warehouse", {}),
    "inventory.received": ("sku occurrence purchase_id on_hand", {}),
    "accounts.signup-submitted": ("account_id email name country plan", {}),
    "accounts.create": ("account_id email name plan", {}),
    "accounts.activate": ("account_id", {}),
    "accounts.close": ("account_id reason", {}),
    "accounts.created": ("account_id at", {}),
    "accounts.activated": ("account_id at", {}),
    "accounts.closed": ("account_id at", {}),
    "notifications.queue-email": ("message_id to template data due_at", {}),
    "notifications.email-queued": ("message_id due_at", {}),
    "notifications.remove-email": ("message_id correction_template?", {}),
    "notifications.email-removed": ("message_id was_sent corrected", {}),
    "notifications.email-sent": ("message_id to at", {}),
    "notifications.email-bounced": ("message_id to reason", {}),
    "identity.verify": ("account_id name country", {}),
    "identity.verified": ("account_id score", {}),
    "identity.ambiguous": ("account_id score reasons", {}),
    "identity.failed": ("account_id score reason", {}),
    "leads.submitted": ("lead_id name email company? message", {}),
    "leads.alert-sent": ("lead_id at", {}),
    "leads.crm-record-created": ("lead_id record_id", {}),
    "documents.uploaded": ("document_id owner_email path sha256", {}),
    "documents.signature-requested": ("document_id path request_id", {}),
    "documents.signature-completed": ("request_id signed_at", {}),
    "documents.signed": ("document_id request_id path signed_at", {}),
    "documents.filed": ("document_id path sha256", {}),
    "deals.closed": ("deal_id customer_id amount_cents currency closed_at", {}),
    "invoicing.invoice-created": ("deal_id invoice_id", {}),
    "schedules.tick": ("schedule_id due_at", {}),
    "inventory.stock-report": ("schedule_id due_at totals", {"totals": {"sku", "on_hand", "reserved"}}),
}
OUTCOMES = {
    "inventory.reserve": ("inventory.reserved", "| inventory.unavailable"),
    "inventory.release": ("inventory.released", "|"),
    "inventory.receive": ("inventory.received", "|"),
    "payment.charge": ("payment.captured", "| payment.declined"),
    "payment.refund": ("payment.refunded", "|"),
    "shipping.create-label": ("shipping.label-created", "| shipping.address-rejected"),
    "shipping.void-label": ("shipping.label-voided", "|"),
    "shipping.dispatch": ("shipping.dispatched", "|"),
    "purchasing.order": ("purchasing.ordered", "| purchasing.vendor-out-of-stock"),
    "purchasing.cancel": ("purchasing.cancelled", "|"),
    "storefront.mark": ("storefront.marked", "|"),
    "accounts.create": ("accounts.created", "|"),
    "accounts.activate": ("accounts.activated", "|"),
    "accounts.close": ("accounts.closed", "|"),
    "notifications.queue-email": ("notifications.email-queued", "|"),
    "notifications.remove-email": ("notifications.email-removed", "|"),
    "identity.verify": ("identity.verified identity.ambiguous", "| identity.failed"),
}
CATALOG = Catalog.of(CONTEXTS.values())


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
        _name(command): (_names(command.succeeds), f"| {_names(command.refuses)}".rstrip())
        for command in CATALOG.commands()
    }
    assert found == OUTCOMES


def _name(message: type[Message]) -> str:
    return message.type.removesuffix(".v1")


def _names(messages: Iterable[type[Message]]) -> str:
    return " ".join(map(_name, messages))


def test_the_reasons_of_a_cancelled_order() -> None:
    reasons = get_args(OrderCancelled.model_fields["reason"].annotation)
    assert set(reasons) == {"refused", "failed", "silent", "deadline", "operator"}


def test_commands_are_commands() -> None:
    assert all(issubclass(CATALOG.require(f"{name}.v1"), Command) for name in OUTCOMES)
