"""Invoicing: invoices in the accounting system."""

from __future__ import annotations

from contracts.message import Event, Identifier, Text


class InvoiceCreated(Event, type="invoicing.invoice-created.v1"):
    deal_id: Identifier
    invoice_id: Text
