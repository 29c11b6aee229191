"""Notifications: the queue of emails, sent when they are due."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, StrictBool

from contracts.accounts import EmailAddress
from contracts.message import Command, Event, Identifier, Text, UtcTime

TEMPLATE_FIELDS_MAX = 50
TemplateData: TypeAlias = Annotated[dict[str, str], Field(max_length=TEMPLATE_FIELDS_MAX)]
"""What a template fills in, by name."""


class EmailQueued(Event, type="notifications.email-queued.v1"):
    message_id: Identifier
    due_at: UtcTime


class QueueEmail(Command, type="notifications.queue-email.v1", succeeds=EmailQueued):
    message_id: Identifier
    to: EmailAddress
    template: Identifier
    data: TemplateData
    due_at: UtcTime


class EmailRemoved(Event, type="notifications.email-removed.v1"):
    """`was_sent`: it had gone out before; `corrected`: then one correcting email followed it."""

    message_id: Identifier
    was_sent: StrictBool
    corrected: StrictBool


class RemoveEmail(Command, type="notifications.remove-email.v1", succeeds=EmailRemoved):
    """With `correction_template`, an email that has gone out already is followed by one that corrects it."""

    message_id: Identifier
    correction_template: Identifier | None = None


class EmailSent(Event, type="notifications.email-sent.v1"):
    message_id: Identifier
    to: EmailAddress
    at: UtcTime


class EmailBounced(Event, type="notifications.email-bounced.v1"):
    message_id: Identifier
    to: EmailAddress
    reason: Text
