"""What the shipping service does with each command. The carrier adapter owns all repeats of a call."""

from __future__ import annotations

from contracts.shipping import (
    AddressRejected,
    CreateLabel,
    DispatchOrder,
    LabelCreated,
    LabelVoided,
    OrderDispatched,
    VoidLabel,
)
from services.sdk import ONCE, Delivery, Service
from services.shipping.carrier import Carrier, Parcel, Recipient, Rejected, Void
from services.shipping.resources import connect

service = Service("shipping", resources=connect, contexts=("shipping",))


@service.handles(CreateLabel, retry=ONCE, unfinished="repeat")
async def create_label(command: CreateLabel, carrier: Carrier, delivery: Delivery) -> LabelCreated | AddressRejected:
    answer = await carrier.create_label(parcel_of(command), key=delivery.idempotency_key)
    if isinstance(answer, Rejected):
        return AddressRejected(order_id=command.order_id, reason=answer.reason)
    return LabelCreated(
        order_id=command.order_id,
        label_id=answer.label_id,
        carrier=answer.carrier,
        tracking_number=answer.tracking_number,
    )


@service.handles(VoidLabel, retry=ONCE, unfinished="repeat")
async def void_label(command: VoidLabel, carrier: Carrier, delivery: Delivery) -> LabelVoided:
    covered = void_of(command, delivery.undoes)
    await carrier.void_label(covered, key=delivery.idempotency_key)
    return LabelVoided(order_id=command.order_id)


@service.handles(DispatchOrder, retry=ONCE, unfinished="repeat")
async def dispatch(command: DispatchOrder, carrier: Carrier, delivery: Delivery) -> OrderDispatched:
    answer = await carrier.dispatch(command.order_id, command.label_id, key=pick_up_key(command))
    return OrderDispatched(
        order_id=command.order_id,
        tracking_number=answer.tracking_number,
        dispatched_at=answer.dispatched_at,
    )


def parcel_of(command: CreateLabel) -> Parcel:
    to = command.ship_to
    return Parcel(
        command.order_id,
        Recipient(to.name, to.street, to.city, to.postal_code, to.country),
        tuple((line.sku, line.quantity) for line in command.lines),
    )


def void_of(command: VoidLabel, undoes: tuple[str, ...]) -> Void:
    """The ids that an undo covers decide alone (decision 0033); a label's key at the carrier is its command's id."""
    if undoes:
        return Void(command.order_id, label_keys=undoes)
    return Void(command.order_id, label_id=command.label_id)


def pick_up_key(command: DispatchOrder) -> str:
    """One pick-up a label, however many tries ask for it: a dispatch cannot be undone (decision 0032)."""
    return f"{command.order_id}/{command.label_id}/dispatch"
