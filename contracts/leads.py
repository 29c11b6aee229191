"""Leads: people who ask about the product."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from contracts.accounts import EmailAddress
from contracts.message import Event, Identifier, Text, UtcTime

MESSAGE_LENGTH_MAX = 10_000


class LeadSubmitted(Event, type="leads.submitted.v1"):
    lead_id: Identifier
    name: Text
    email: EmailAddress
    company: Text | None = None
    message: Annotated[str, StringConstraints(min_length=1, max_length=MESSAGE_LENGTH_MAX)]


class LeadAlertSent(Event, type="leads.alert-sent.v1"):
    lead_id: Identifier
    at: UtcTime


class CrmRecordCreated(Event, type="leads.crm-record-created.v1"):
    lead_id: Identifier
    record_id: Text
