"""Leads: people who asked for something on a web form."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import StringConstraints

from contracts.message import Event, Identifier, Text

LeadMessage: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]


class LeadSubmitted(Event, type="leads.submitted.v1"):
    lead_id: Identifier
    name: Text
    email: Text
    company: Text | None = None
    message: LeadMessage
