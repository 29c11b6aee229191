"""Creates one invoice for each closed deal, whatever happens on the way."""

from __future__ import annotations

from typing import Final

from contracts.deals import DealClosed
from contracts.invoicing import InvoiceCreated
from services.invoicing.accounting import Accounting, Invoice
from services.invoicing.resources import connect
from services.sdk import Retry, Service

PATIENCE: Final = Retry(attempts=16, first=1.0, factor=2.0, ceiling=60.0)
"""Some ten minutes, since nobody else tries an event again; then a dead letter, which a replay executes."""

service = Service("invoicing", resources=connect)


@service.handles(DealClosed, retry=PATIENCE, unfinished="repeat")
async def create_invoice(deal: DealClosed, accounting: Accounting) -> InvoiceCreated:
    wanted = Invoice(deal.deal_id, deal.customer_id, deal.amount_cents, deal.currency)
    invoice_id = await accounting.create_invoice(wanted, key=invoice_key(deal))
    return InvoiceCreated(deal_id=deal.deal_id, invoice_id=invoice_id)


def invoice_key(deal: DealClosed) -> str:
    """One invoice a deal, however many events tell of it: a row that is written again is not billed again. A deal that
    is closed again with another amount is refused by the accounting system and goes to dead letters (decision 0121)."""
    return f"invoicing/{deal.deal_id}"
