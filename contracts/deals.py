"""Deals: what sales closes in the CRM."""

from __future__ import annotations

from contracts.message import Cents, Currency, Event, Identifier, UtcTime


class DealClosed(Event, type="deals.closed.v1"):
    """A row changed in the CRM's database."""

    deal_id: Identifier
    customer_id: Identifier
    amount_cents: Cents
    currency: Currency
    closed_at: UtcTime
