"""The commands of the order flow as the orchestrator sends them, made without it: the services' ids are known ahead."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

from benchmarks.orders import order_of
from benchmarks.peers.flow import is_declined
from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import ORCHESTRATOR_SOURCE, command_id, partition_of, process_id, undo_id
from contracts.inventory import ReleaseStock, ReserveStock, StockLine
from contracts.message import Command
from contracts.payment import ChargePayment
from contracts.record import OutgoingRecord
from contracts.shipping import CreateLabel, DispatchOrder, VoidLabel
from contracts.topics import DOMAIN_PARTITIONS

PATIENCE_MS = 15 * 60 * 1000
SAGA = "order-fulfilment"


def commands_of(number: int, run: str) -> Iterator[OutgoingRecord]:
    """Of one order, in the order in which its saga sends them."""
    order = order_of(number, run)
    process = process_id(SAGA, order.order_id)
    labelled, reserved = command_id(process, "create_label", 1), command_id(process, "reserve", 1)
    units = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in order.lines)
    yield _record(ReserveStock(order_id=order.order_id, lines=units), process, reserved)
    charge = ChargePayment(
        order_id=order.order_id,
        amount_cents=order.total_cents,
        currency=order.currency,
        payment_method=order.payment_method,
    )
    yield _record(charge, process, command_id(process, "charge", 1))
    label = CreateLabel(order_id=order.order_id, ship_to=order.ship_to, lines=units)
    yield _record(label, process, labelled)
    # What the carrier in the services' process calls the label of this command.
    label_id = f"lbl-{labelled}"
    if is_declined(number):
        void = VoidLabel(order_id=order.order_id, label_id=label_id)
        yield _record(void, process, undo_id(process, "create_label", 1), (labelled,))
        release = ReleaseStock(order_id=order.order_id)
        yield _record(release, process, undo_id(process, "reserve", 1), (reserved,))
    else:
        dispatch = DispatchOrder(order_id=order.order_id, label_id=label_id)
        yield _record(dispatch, process, command_id(process, "dispatch", 1))


def _record(command: Command, process: str, identity: str, undoes: tuple[str, ...] = ()) -> OutgoingRecord:
    now_ms = time.time_ns() // 1_000_000
    digest = hashlib.sha256(identity.encode()).hexdigest()
    envelope = Envelope(
        id=identity,
        source=ORCHESTRATOR_SOURCE,
        type=command.type,
        time=format_time(now_ms),
        process_id=process,
        causation_id=digest[:32],
        idempotency_key=identity,
        deadline=format_time(now_ms + PATIENCE_MS),
        try_number=1,
        undoes=undoes,
        traceparent=f"00-{hashlib.sha256(process.encode()).hexdigest()[:32]}-{digest[:16]}-01",
    )
    partition = partition_of(command.key, DOMAIN_PARTITIONS)
    return OutgoingRecord(command.topic, command.key.encode(), command.to_json(), encode_headers(envelope), partition)
