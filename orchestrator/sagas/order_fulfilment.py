"""Order fulfilment: reserve, charge and label at once; then dispatch. If one fails, what the others did is undone."""

from __future__ import annotations

from datetime import timedelta

from contracts.inventory import ReleaseStock, ReserveStock, StockLine, StockReserved
from contracts.orders import OrderCancelled, OrderFulfilled, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured, RefundPayment
from contracts.shipping import CreateLabel, DispatchOrder, LabelCreated, OrderDispatched, VoidLabel
from orchestrator.language import Ending, Retry, Saga, command, emit, parallel, pivot, sequence


def reserve(order: OrderPlaced) -> ReserveStock:
    return ReserveStock(order_id=order.order_id, lines=_units(order))


def release(order: OrderPlaced, reserved: StockReserved | None) -> ReleaseStock:
    return ReleaseStock(order_id=order.order_id, reservation_id=reserved.reservation_id if reserved else None)


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


def dispatch(label: LabelCreated) -> DispatchOrder:
    return DispatchOrder(order_id=label.order_id, label_id=label.label_id)


def fulfilled(order: OrderPlaced, dispatched: OrderDispatched) -> OrderFulfilled:
    return OrderFulfilled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        customer_email=order.customer_email,
        tracking_number=dispatched.tracking_number,
        dispatched_at=dispatched.dispatched_at,
    )


def cancelled(order: OrderPlaced, ending: Ending) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        customer_email=order.customer_email,
        reason=ending.reason,
        step=ending.step,
    )


def _units(order: OrderPlaced) -> tuple[StockLine, ...]:
    return tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in order.lines)


ORDER_FULFILMENT = Saga(
    name="order-fulfilment",
    version=1,
    starts_on=OrderPlaced,
    key=lambda order: order.order_id,
    body=sequence(
        parallel(
            command(reserve, undo=release),
            command(charge, undo=refund, retry=Retry(attempts=5)),
            command(create_label, undo=void_label),
        ),
        pivot(),
        command(dispatch),
        emit(fulfilled),
    ),
    cancelled=emit(cancelled),
    deadline=timedelta(hours=2),
)
