"""Payment: charges and refunds at the payment provider."""

from __future__ import annotations

from contracts.message import Cents, Command, Currency, Event, Identifier, Text


class PaymentCaptured(Event, type="payment.captured.v1"):
    order_id: Identifier
    payment_id: Text
    amount_cents: Cents
    currency: Currency


class PaymentDeclined(Event, type="payment.declined.v1"):
    order_id: Identifier
    code: Text


class ChargePayment(Command, type="payment.charge.v1", succeeds=PaymentCaptured, refuses=PaymentDeclined):
    order_id: Identifier
    amount_cents: Cents
    currency: Currency
    payment_method: Text


class PaymentRefunded(Event, type="payment.refunded.v1"):
    """`amount_cents` is 0 if nothing had been captured."""

    order_id: Identifier
    amount_cents: Cents
    currency: Currency


class RefundPayment(Command, type="payment.refund.v1", succeeds=PaymentRefunded):
    """Without `payment_id`: whatever the commands named in `ce_undoes` captured."""

    order_id: Identifier
    payment_id: Text | None = None
