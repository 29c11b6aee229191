"""The accounting system over HTTP (the contract: deploy/local/sandbox/README.md, Accounting)."""

from __future__ import annotations

from msgspec.structs import asdict
from pydantic import BaseModel, Field

from services.invoicing.accounting import KEY_REUSED, Invoice
from services.sdk import NotDone
from services.sdk.outside.provider_http import ProviderHttp


class _InvoiceAnswer(BaseModel):
    invoice_id: str = Field(min_length=1)


class HttpAccounting:
    """The Accounting that honours `Idempotency-Key`."""

    def __init__(self, provider: ProviderHttp) -> None:
        self._provider = provider

    async def create_invoice(self, invoice: Invoice, *, key: str) -> str:
        answer = await self._provider.post("invoices", asdict(invoice), key=key)
        if answer.code == KEY_REUSED:
            # The key is the deal's: there is an invoice already, of another amount or for another customer.
            raise NotDone(KEY_REUSED, f"deal {invoice.deal_id} has an invoice with another content")
        return self._provider.read_created(_InvoiceAnswer, answer).invoice_id
