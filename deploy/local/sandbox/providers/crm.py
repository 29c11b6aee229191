"""The CRM: records of leads."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

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

RECORD = "record"
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]


class RecordBody(RequestBody):
    """`POST /crm/records`."""

    lead_id: Id
    name: Text
    email: Text
    company: Text | None = None
    message: Text | None = None


def create_record(books: Books, body: RecordBody, call: Call) -> Reply:
    """Keep the lead. Another key for the same lead is another record, and the ledger shows it."""
    record_id = made_id("rec_", call.key)
    fields = {"record_id": record_id, **body.model_dump(exclude_none=True)}
    books.put(RECORD, record_id, body.lead_id, call.key, {**fields, "idempotency_key": call.key})
    data = {"record_id": record_id, "name": body.name, "email": body.email}
    return Reply(201, {"record_id": record_id, "lead_id": body.lead_id}, effect=Effect(RECORD, body.lead_id, data))


CRM = Provider(
    name="crm",
    operations=(Operation("/crm/records", RecordBody, create_record),),
    lookups=kept("/crm/records", RECORD, id_name="record_id", reference_name="lead_id"),
)
