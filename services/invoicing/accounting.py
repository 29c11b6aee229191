"""The accounting system as this automation needs it.

Promise of every adapter: one key makes one invoice, however often it is asked; the key of an invoice with another
amount or customer is `NotDone`, not retryable. A call that is cancelled may have made the invoice.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

KEY_REUSED = "idempotency_key_reused"


class Invoice(msgspec.Struct, frozen=True, gc=False):
    deal_id: str
    customer_id: str
    amount_cents: int
    currency: str


class Accounting(Protocol):
    async def create_invoice(self, invoice: Invoice, *, key: str) -> str:
        """The invoice's id. Raises `NotDone` only if this call made none, `Unknown` otherwise."""
