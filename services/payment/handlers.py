"""What the payment service does with each command. The gateway owns all repeats of a call, so handlers have none."""

from __future__ import annotations

from contracts.payment import ChargePayment, PaymentCaptured, PaymentDeclined, PaymentRefunded, RefundPayment
from services.payment.gateway import Charge, Declined, PaymentGateway, Refund
from services.payment.resources import connect
from services.sdk import ONCE, Delivery, Service

service = Service("payment", resources=connect, contexts=("payment",))


@service.handles(ChargePayment, retry=ONCE, unfinished="repeat")
async def charge(
    command: ChargePayment, gateway: PaymentGateway, delivery: Delivery
) -> PaymentCaptured | PaymentDeclined:
    wanted = Charge(command.order_id, command.amount_cents, command.currency, command.payment_method)
    answer = await gateway.charge(wanted, key=delivery.idempotency_key)
    if isinstance(answer, Declined):
        return PaymentDeclined(order_id=command.order_id, code=answer.code)
    return PaymentCaptured(
        order_id=command.order_id,
        payment_id=answer.payment_id,
        amount_cents=answer.amount_cents,
        currency=answer.currency,
    )


@service.handles(RefundPayment, retry=ONCE, unfinished="repeat")
async def refund(command: RefundPayment, gateway: PaymentGateway, delivery: Delivery) -> PaymentRefunded:
    covered = refund_of(command, delivery.undoes)
    answer = await gateway.refund(covered, key=delivery.idempotency_key)
    return PaymentRefunded(order_id=command.order_id, amount_cents=answer.amount_cents, currency=answer.currency)


def refund_of(command: RefundPayment, undoes: tuple[str, ...]) -> Refund:
    """The ids that an undo covers decide alone (decision 0033); a charge's key at the provider is its command's id."""
    if undoes:
        return Refund(command.order_id, charge_keys=undoes)
    return Refund(command.order_id, payment_id=command.payment_id)
