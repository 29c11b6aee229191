"""An accounting system in this process: the public fake, which answers at once and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from services.invoicing.accounting import KEY_REUSED, Invoice
from services.sdk import NotDone, Unknown

INVOICES_MAX: Final = 200_000
"""Invoices that are remembered; the oldest are forgotten first, and then their keys make new ones."""

Misbehaviour = Literal["unavailable", "lost", "silent"]
"""As the next call ends: nothing done and said so; done, but the answer is lost; not done, and no answer."""


@dataclass(slots=True)
class MemoryAccounting:
    """`invoices`: by key."""

    misbehave: deque[Misbehaviour] = field(default_factory=deque)
    invoices: dict[str, Invoice] = field(default_factory=dict)

    async def create_invoice(self, invoice: Invoice, *, key: str) -> str:
        fault = self.misbehave.popleft() if self.misbehave else None
        if fault == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        if fault != "silent" and self.invoices.setdefault(key, invoice) != invoice:
            raise NotDone(KEY_REUSED, f"deal {invoice.deal_id} has an invoice with another content")
        if len(self.invoices) > INVOICES_MAX:
            del self.invoices[next(iter(self.invoices))]
        if fault is not None:
            raise Unknown("provider-silent", "no answer")
        return f"inv-{key}"
