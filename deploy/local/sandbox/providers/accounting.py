"""The accounting system: invoices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from deploy.local.sandbox.provider import (
    Books,
    Call,
    Effect,
    Id,
    Lookup,
    Operation,
    Provider,
    Reply,
    RequestBody,
    made_id,
    refusal,
)

INVOICE = "invoice"
# The contract's own limit of an amount (contracts.message.Cents).
AMOUNT_LIMIT_CENTS = 10**15


class InvoiceBody(RequestBody):
    """`POST /accounting/invoices`."""

    deal_id: Id
    customer_id: Id
    amount_cents: int = Field(ge=0, le=AMOUNT_LIMIT_CENTS)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


def create_invoice(books: Books, body: InvoiceBody, call: Call) -> Reply:
    """Bill the customer. Another key for the same deal is another invoice, and the ledger shows it."""
    invoice_id = made_id("inv_", call.key)
    fields = {"invoice_id": invoice_id, **body.model_dump()}
    books.put(INVOICE, invoice_id, body.deal_id, call.key, {**fields, "idempotency_key": call.key})
    data = {
        "invoice_id": invoice_id,
        "customer_id": body.customer_id,
        "amount_cents": body.amount_cents,
        "currency": body.currency,
    }
    return Reply(201, fields, effect=Effect(INVOICE, body.deal_id, data))


def one_invoice(books: Books, parameters: Mapping[str, str]) -> Reply:
    """`GET /accounting/invoices/{invoice_id}`."""
    found = books.get(INVOICE, parameters["invoice_id"])
    return refusal(404, "unknown_invoice", "There is no such invoice.") if found is None else Reply(200, found)


def invoices(books: Books, parameters: Mapping[str, str]) -> Reply:
    """`GET /accounting/invoices`, by deal and idempotency key."""
    reference, key = parameters.get("deal_id"), parameters.get("idempotency_key")
    if reference is None and key is None:
        return refusal(400, "invalid_request", "Give deal_id or idempotency_key.")
    return Reply(200, {"invoices": books.find(INVOICE, reference=reference, key=key)})


ACCOUNTING = Provider(
    name="accounting",
    operations=(Operation("/accounting/invoices", InvoiceBody, create_invoice),),
    lookups=(Lookup("/accounting/invoices/{invoice_id}", one_invoice), Lookup("/accounting/invoices", invoices)),
)
