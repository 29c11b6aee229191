"""The CRM: records of leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import StringConstraints

from deploy.local.sandbox.provider import (
    Books,
    Call,
    Effect,
    Id,
    Lookup,
    Operation,
    Provider,
    Reply,
    RequestBody,
    made_id,
    refusal,
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


def one_record(books: Books, parameters: Mapping[str, str]) -> Reply:
    """`GET /crm/records/{record_id}`."""
    found = books.get(RECORD, parameters["record_id"])
    return refusal(404, "unknown_record", "There is no such record.") if found is None else Reply(200, found)


def records(books: Books, parameters: Mapping[str, str]) -> Reply:
    """`GET /crm/records`, by lead and idempotency key."""
    reference, key = parameters.get("lead_id"), parameters.get("idempotency_key")
    if reference is None and key is None:
        return refusal(400, "invalid_request", "Give lead_id or idempotency_key.")
    return Reply(200, {"records": books.find(RECORD, reference=reference, key=key)})


CRM = Provider(
    name="crm",
    operations=(Operation("/crm/records", RecordBody, create_record),),
    lookups=(Lookup("/crm/records/{record_id}", one_record), Lookup("/crm/records", records)),
)
