"""The payment provider: charges, refunds, and the payment methods that misbehave (FLOWS.md, "Outside systems")."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from deploy.local.sandbox.provider import (
    Books,
    Call,
    Covers,
    Delivery,
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

CHARGE = "charge"
DECLINED, FLAKY, SILENT, LOST = "pm_declined", "pm_flaky", "pm_silent", "pm_lost"
FLAKY_REFUSALS = 2
AMOUNT_LIMIT_CENTS = 10**12
# The account's: said when nothing was captured and a refund's answer still needs one.
ACCOUNT_CURRENCY = "USD"


class ChargeBody(RequestBody):
    """`POST /payment/charges`."""

    order_id: Id
    amount_cents: int = Field(ge=0, le=AMOUNT_LIMIT_CENTS)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    payment_method: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class RefundBody(RequestBody):
    """`POST /payment/refunds`: covers what `payment_id` and `charge_keys` name; neither given = all of the order."""

    order_id: Id
    payment_id: Id | None = None
    charge_keys: tuple[Key, ...] | None = Field(default=None, max_length=1000)


def covered_by_refund(body: RefundBody) -> Covers:
    """A charge that is named by its payment id is done: it has been answered."""
    named = () if body.payment_id is not None else None
    return Covers(body.order_id, named if body.charge_keys is None else body.charge_keys)


def charge(books: Books, body: ChargeBody, call: Call) -> Reply:
    """Capture money, or do what the payment method says."""
    if body.payment_method == DECLINED:
        return refusal(402, "insufficient_funds", "The card was declined.")
    if body.payment_method == SILENT:
        return Reply(503, {}, stored=False, delivery=Delivery.SILENT)
    if body.payment_method == FLAKY and books.count(f"flaky:{body.order_id}") <= FLAKY_REFUSALS:
        return refusal(503, "unavailable", "Try again.", stored=False)
    money = {"amount_cents": body.amount_cents, "currency": body.currency}
    payment_id = made_id("pay_", call.key)
    payment = {"payment_id": payment_id, "order_id": body.order_id, **money}
    details = {"payment_method": body.payment_method, "idempotency_key": call.key, "refund_id": None}
    books.put(CHARGE, payment_id, body.order_id, call.key, {**payment, **details, "status": "captured"})
    data = {"payment_id": payment_id, **money, "payment_method": body.payment_method}
    return Reply(
        201,
        {**payment, "status": "captured"},
        effect=Effect("charge", body.order_id, data),
        delivery=Delivery.LOST if body.payment_method == LOST else Delivery.SENT,
    )


def refund(books: Books, body: RefundBody, call: Call) -> Reply:
    """Give back all that is covered and not yet given back; nothing to give back is a success."""
    covered = _covered(books, body)
    if covered is None:
        return refusal(404, "unknown_payment", "There is no such payment.")
    if any(payment["order_id"] != body.order_id for payment in covered):
        return refusal(409, "wrong_order", "A covered charge belongs to another order.")
    due = [payment for payment in covered if payment["status"] == "captured"]
    if len({payment["currency"] for payment in due}) > 1:
        return refusal(409, "mixed_currencies", "The covered charges have several currencies; refund them one by one.")
    if not due:
        return Reply(201, _nothing_refunded(body.order_id, covered))
    return _give_back(books, body.order_id, due, call)


def _covered(books: Books, body: RefundBody) -> list[Json] | None:
    if body.payment_id is None and body.charge_keys is None:
        return books.find(CHARGE, reference=body.order_id)
    covered: dict[str, Json] = {}
    if body.payment_id is not None:
        named = books.get(CHARGE, body.payment_id)
        if named is None:
            return None
        covered[body.payment_id] = named
    for key in body.charge_keys or ():
        covered |= {payment["payment_id"]: payment for payment in books.find(CHARGE, key=key)}
    return list(covered.values())


def _nothing_refunded(order_id: str, covered: list[Json]) -> Json:
    last = covered[-1] if covered else {"refund_id": None, "currency": ACCOUNT_CURRENCY}
    refund_id, currency = last["refund_id"], last["currency"]
    return {"refund_id": refund_id, "order_id": order_id, "amount_cents": 0, "currency": currency, "payment_ids": []}


def _give_back(books: Books, order_id: str, due: list[Json], call: Call) -> Reply:
    refund_id = made_id("re_", call.key)
    for payment in due:
        changed = {**payment, "status": "refunded", "refund_id": refund_id}
        books.put(CHARGE, payment["payment_id"], order_id, payment["idempotency_key"], changed)
    given = {
        "refund_id": refund_id,
        "amount_cents": sum(payment["amount_cents"] for payment in due),
        "currency": due[0]["currency"],
        "payment_ids": [payment["payment_id"] for payment in due],
    }
    data = {**given, "charge_keys": [payment["idempotency_key"] for payment in due]}
    return Reply(201, {**given, "order_id": order_id}, effect=Effect("refund", order_id, data))


PAYMENT = Provider(
    name="payment",
    operations=(
        Operation("/payment/charges", ChargeBody, charge, reference=lambda body: body.order_id),
        Operation("/payment/refunds", RefundBody, refund, covers=covered_by_refund),
    ),
    lookups=kept("/payment/charges", CHARGE, id_name="payment_id", reference_name="order_id"),
)
