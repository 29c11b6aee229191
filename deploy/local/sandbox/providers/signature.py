"""The e-signature provider: requests, the owners who sign them, and the webhook that says so.

Owners sign at once, but for two whose address says otherwise (`README.md`).
"""

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
    Webhook,
    kept,
    made_id,
    refusal,
)

REQUEST = "signature-request"
NEVER, TWICE = "never-signs@", "told-twice@"

Text = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]


class SignatureBody(RequestBody):
    """`POST /signature/requests`."""

    document_id: Id
    owner_email: Text
    path: Text
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SigningBody(RequestBody):
    """`POST /signature/signings`: an owner signs after all."""

    request_id: Id


def request_signature(books: Books, body: SignatureBody, call: Call) -> Reply:
    """Ask the owner; most sign at once."""
    request_id = made_id("sig_", call.key)
    signs = not body.owner_email.startswith(NEVER)
    state = {"status": "signed", "signed_at": call.at} if signs else {"status": "open", "signed_at": None}
    fields = {"request_id": request_id, **body.model_dump(), **state}
    books.put(REQUEST, request_id, body.document_id, call.key, {**fields, "idempotency_key": call.key})
    data = {"request_id": request_id, "owner_email": body.owner_email, "path": body.path, "sha256": body.sha256}
    times = 2 if body.owner_email.startswith(TWICE) else 1
    return Reply(
        201,
        {"request_id": request_id, "document_id": body.document_id, "status": "open"},
        effect=Effect(REQUEST, body.document_id, data),
        webhooks=(_completed(request_id, call.at),) * times if signs else (),
    )


def sign(books: Books, body: SigningBody, call: Call) -> Reply:
    """The owner signs; a second time changes nothing."""
    found = books.get(REQUEST, body.request_id)
    if found is None:
        return refusal(404, "unknown_request", "There is no such request.")
    if found["status"] == "signed":
        return Reply(201, {"request_id": body.request_id, "signed_at": found["signed_at"]})
    signed = {**found, "status": "signed", "signed_at": call.at}
    books.put(REQUEST, body.request_id, found["document_id"], found["idempotency_key"], signed)
    told = (_completed(body.request_id, call.at),)
    return Reply(201, {"request_id": body.request_id, "signed_at": call.at}, webhooks=told)


def _completed(request_id: str, at: str) -> Webhook:
    event = {"type": "signature.completed", "data": {"request_id": request_id, "signed_at": at}}
    return Webhook(made_id("evt_", request_id), event)


SIGNATURE = Provider(
    name="signature",
    operations=(
        Operation("/signature/requests", SignatureBody, request_signature),
        Operation("/signature/signings", SigningBody, sign),
    ),
    lookups=kept("/signature/requests", REQUEST, id_name="request_id", reference_name="document_id"),
)
