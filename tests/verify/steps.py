"""Builders that break no rule, for the planted sagas to stand on."""

from __future__ import annotations

from contracts.inventory import ReleaseStock, ReserveStock, StockLine, StockReserved
from contracts.orders import OrderCancelled, OrderLine, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured, RefundPayment
from contracts.shipping import CreateLabel, LabelCreated, VoidLabel
from orchestrator.language import Ending


def reserve(order: OrderPlaced) -> ReserveStock:
    return ReserveStock(order_id=order.order_id, lines=_units(order))


def release(order: OrderPlaced, reserved: StockReserved | None) -> ReleaseStock:
    return ReleaseStock(order_id=order.order_id, reservation_id=reserved.reservation_id if reserved else None)


def lines(order: OrderPlaced) -> tuple[OrderLine, ...]:
    return order.lines


def reserve_line(order: OrderPlaced, line: OrderLine) -> ReserveStock:
    return ReserveStock(order_id=order.order_id, lines=(StockLine(sku=line.sku, quantity=line.quantity),))


def is_large(order: OrderPlaced) -> bool:
    return order.total_cents > 100_000


def charge(order: OrderPlaced) -> ChargePayment:
    return ChargePayment(
        order_id=order.order_id,
        amount_cents=order.total_cents,
        currency=order.currency,
        payment_method=order.payment_method,
    )


def refund(order: OrderPlaced, captured: PaymentCaptured | None) -> RefundPayment:
    return RefundPayment(order_id=order.order_id, payment_id=captured.payment_id if captured else None)


def create_label(order: OrderPlaced) -> CreateLabel:
    return CreateLabel(order_id=order.order_id, ship_to=order.ship_to, lines=_units(order))


def void_label(order: OrderPlaced, label: LabelCreated | None) -> VoidLabel:
    return VoidLabel(order_id=order.order_id, label_id=label.label_id if label else None)


def cancelled(order: OrderPlaced, ending: Ending) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=order.customer_id, reason=ending.reason)


def _units(order: OrderPlaced) -> tuple[StockLine, ...]:
    return tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in order.lines)
