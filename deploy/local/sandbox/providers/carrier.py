"""The carrier: labels, their voiding, and the pick-up of parcels (FLOWS.md, "Outside systems")."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from deploy.local.sandbox.provider import (
    Books,
    Call,
    Covers,
    Effect,
    Id,
    Json,
    Key,
    Operation,
    Provider,
    Reply,
    RequestBody,
    kept,
    made_id,
    refusal,
)

LABEL = "label"
CARRIER_NAME = "sandbox-express"
UNKNOWN_PLACE = "00000"

Text = Annotated[str, StringConstraints(max_length=500)]


class Address(RequestBody):
    """Where a parcel goes."""

    name: Text
    street: Text
    city: Text
    postal_code: Text
    country: Text


class Line(RequestBody):
    """What is in the parcel."""

    sku: Text
    quantity: int = Field(ge=1)


class LabelBody(RequestBody):
    """`POST /carrier/labels`."""

    order_id: Id
    ship_to: Address
    lines: tuple[Line, ...] = Field(min_length=1)


class VoidBody(RequestBody):
    """`POST /carrier/voids`: covers what `label_id` and `label_keys` name; neither given = all of the order."""

    order_id: Id
    label_id: Id | None = None
    label_keys: tuple[Key, ...] | None = Field(default=None, max_length=1000)


class DispatchBody(RequestBody):
    """`POST /carrier/dispatches`."""

    order_id: Id
    label_id: Id


def covered_by_void(body: VoidBody) -> Covers:
    """A label that is named by its id is made: its request has been answered."""
    named = () if body.label_id is not None else None
    return Covers(body.order_id, named if body.label_keys is None else body.label_keys)


def create_label(books: Books, body: LabelBody, call: Call) -> Reply:
    """Sell a label, unless the carrier does not go there."""
    if body.ship_to.postal_code == UNKNOWN_PLACE:
        return refusal(422, "address_rejected", f"No delivery to postal code {UNKNOWN_PLACE}.")
    label = {
        "label_id": made_id("lbl_", call.key),
        "carrier": CARRIER_NAME,
        "tracking_number": made_id("SX", call.key, 14).upper(),
    }
    kept = {**label, "order_id": body.order_id, "idempotency_key": call.key, "status": "open"}
    books.put(LABEL, label["label_id"], body.order_id, call.key, kept)
    return Reply(201, {**label, "order_id": body.order_id}, effect=Effect("label", body.order_id, label))


def void(books: Books, body: VoidBody, call: Call) -> Reply:
    """Void all covered labels that are open; none is a success. One that was dispatched forbids it."""
    covered = _covered(books, body)
    if covered is None:
        return refusal(404, "unknown_label", "There is no such label.")
    if any(label["order_id"] != body.order_id for label in covered):
        return refusal(409, "wrong_order", "A covered label belongs to another order.")
    if any(label["status"] == "dispatched" for label in covered):
        return refusal(409, "label_dispatched", "A covered label was dispatched and cannot be voided.")
    due = [label for label in covered if label["status"] == "open"]
    for label in due:
        _set_status(books, label, "void")
    label_ids = [label["label_id"] for label in due]
    answer = {"order_id": body.order_id, "voided": bool(due), "label_id": next(iter(label_ids), None)}
    data = {"label_ids": label_ids, "label_keys": [label["idempotency_key"] for label in due]}
    effect = Effect("void", body.order_id, data) if due else None
    return Reply(201, {**answer, "label_ids": label_ids}, effect=effect)


def _covered(books: Books, body: VoidBody) -> list[Json] | None:
    if body.label_id is None and body.label_keys is None:
        return books.find(LABEL, reference=body.order_id)
    covered: dict[str, Json] = {}
    if body.label_id is not None:
        named = books.get(LABEL, body.label_id)
        if named is None:
            return None
        covered[body.label_id] = named
    for key in body.label_keys or ():
        covered |= {label["label_id"]: label for label in books.find(LABEL, key=key)}
    return list(covered.values())


def dispatch(books: Books, body: DispatchBody, call: Call) -> Reply:
    """Pick the parcel up. Another key for the same label is another pick-up, and the ledger shows it."""
    label = books.get(LABEL, body.label_id)
    if label is None:
        return refusal(409, "label_unknown", "There is no such label.")
    if label["order_id"] != body.order_id:
        return refusal(409, "wrong_order", "The label belongs to another order.")
    if label["status"] == "void":
        return refusal(409, "label_voided", "The label was voided.")
    _set_status(books, label, "dispatched")
    data = {"label_id": body.label_id, "tracking_number": label["tracking_number"], "dispatched_at": call.at}
    return Reply(201, {**data, "order_id": body.order_id}, effect=Effect("dispatch", body.order_id, data))


def _set_status(books: Books, label: Json, status: str) -> None:
    books.put(LABEL, label["label_id"], label["order_id"], label["idempotency_key"], {**label, "status": status})


CARRIER = Provider(
    name="carrier",
    operations=(
        Operation("/carrier/labels", LabelBody, create_label, reference=lambda body: body.order_id),
        Operation("/carrier/voids", VoidBody, void, covers=covered_by_void),
        Operation("/carrier/dispatches", DispatchBody, dispatch),
    ),
    lookups=kept("/carrier/labels", LABEL, id_name="label_id", reference_name="order_id"),
)
