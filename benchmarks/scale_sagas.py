"""The sagas that the scale benchmarks add to the product's own: one whose processes wait, one that is all timer.

`parked` is an order after its three first steps, asleep until the year 2100: the largest state that an order has
(docs/decisions/0064-packing.md). `ring` sleeps until a moment that its event names, and has ended then.
"""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.catalog import standard_catalog
from contracts.inventory import ReleaseStock, ReserveStock, StockReserved
from contracts.message import Event, Identifier, UtcTime
from contracts.orders import OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured, RefundPayment
from contracts.shipping import CreateLabel, DispatchOrder, LabelCreated, VoidLabel
from orchestrator.engine.book import SagaBook
from orchestrator.language import Saga, command, parallel, pivot, sequence, sleep_until
from orchestrator.sagas import all_sagas, order_fulfilment

FAR = datetime(2100, 1, 1, tzinfo=UTC)


class OrderParked(OrderPlaced, type="orders.parked.v1"):
    """An order of another type, so that the orders beside it start none of these."""


class RingAsked(Event, type="orders.ring-asked.v1"):
    ring_id: Identifier
    due_at: UtcTime


def reserve(order: OrderParked) -> ReserveStock:
    return order_fulfilment.reserve(order)


def release(order: OrderParked, reserved: StockReserved | None) -> ReleaseStock:
    return order_fulfilment.release(order, reserved)


def charge(order: OrderParked) -> ChargePayment:
    return order_fulfilment.charge(order)


def refund(order: OrderParked, captured: PaymentCaptured | None) -> RefundPayment:
    return order_fulfilment.refund(order, captured)


def create_label(order: OrderParked) -> CreateLabel:
    return order_fulfilment.create_label(order)


def void_label(order: OrderParked, label: LabelCreated | None) -> VoidLabel:
    return order_fulfilment.void_label(order, label)


def dispatch(label: LabelCreated) -> DispatchOrder:
    return order_fulfilment.dispatch(label)


def far_off() -> datetime:
    return FAR


def due(asked: RingAsked) -> datetime:
    return asked.due_at


PARKED = Saga(
    name="parked",
    version=1,
    starts_on=OrderParked,
    key=lambda order: order.order_id,
    body=sequence(
        parallel(
            command(reserve, undo=release),
            command(charge, undo=refund),
            command(create_label, undo=void_label),
        ),
        sleep_until(far_off, name="far_off"),
        pivot(),
        command(dispatch),
    ),
)
RING = Saga(
    name="ring",
    version=1,
    starts_on=RingAsked,
    key=lambda asked: asked.ring_id,
    body=sequence(sleep_until(due, name="due")),
)


def scale_book() -> SagaBook:
    """The product's sagas and these."""
    return SagaBook([*all_sagas(), PARKED, RING], standard_catalog().including([OrderParked, RingAsked]))
