"""The accounting system: invoices."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from deploy.local.sandbox.provider import (
    Books,
    Call,
    Effect,
    Id,
    Operation,
    Provider,
    Reply,
    RequestBody,
    kept,
    made_id,
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


ACCOUNTING = Provider(
    name="accounting",
    operations=(Operation("/accounting/invoices", InvoiceBody, create_invoice),),
    lookups=kept("/accounting/invoices", INVOICE, id_name="invoice_id", reference_name="deal_id"),
)
