"""Processes that wait for a year, at four places: what `benchmarks.waiting` fills Redis with.

`small` has begun with a tiny event and sleeps. The others have begun with a realistic order (three lines, an
address): at once at an approval; after one step at a signal; after three steps side by side asleep, the most that an
order has captured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.orders import order_record
from contracts.catalog import standard_catalog
from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.inventory import AllocatedLine, ReserveStock, StockReserved
from contracts.message import Command, Event, Identifier
from contracts.orders import OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.shipping import CreateLabel, LabelCreated
from orchestrator.engine.book import SagaBook
from orchestrator.language import (
    Saga,
    Signal,
    approval,
    command,
    parallel,
    pivot,
    sequence,
    sleep_until,
    wait_for,
)
from orchestrator.language.blocks import Block, CommandStep
from orchestrator.sagas.order_fulfilment import (
    charge,
    create_label,
    dispatch,
    refund,
    release,
    reserve,
    void_label,
)

YEAR = timedelta(days=365)
DAY = timedelta(days=1)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


class Asked(Event, type="orders.asked.v1"):
    request_id: Identifier


class Released(Signal, name="released"):
    by: str


def far_off() -> datetime:
    return FAR


@dataclass(frozen=True, slots=True)
class Case:
    """`start` makes the record of process number n. `commands`: how many each process sends before it waits."""

    name: str
    saga: Saga
    start: Callable[[int], OutgoingRecord]
    commands: int = 0

    @property
    def index(self) -> str:
        return f"{self.saga.name}:running"

    def book(self) -> SagaBook:
        return SagaBook([self.saga], standard_catalog().including([Asked]))


def cases() -> tuple[Case, ...]:
    reserved = _calm(reserve, release)
    everything = parallel(reserved, _calm(charge, refund), _calm(create_label, void_label))
    small = Saga(
        name="small",
        version=1,
        starts_on=Asked,
        key=lambda asked: asked.request_id,
        body=sequence(sleep_until(far_off, name="a_year")),
    )
    signed = approval("sign_off", role="manager", limit=YEAR)
    called = wait_for(Released, limit=YEAR, name="release")
    asleep = sleep_until(far_off, name="a_year")
    return (
        Case("small, asleep", small, _small_start),
        Case("order, at an approval", _order_saga("signed", sequence(signed, everything)), _order_start),
        Case(
            "order, at a signal",
            _order_saga("called", sequence(reserved, called)),
            _order_start,
            1,
        ),
        Case(
            "order, labelled and asleep",
            _order_saga("asleep", sequence(everything, asleep, pivot(), command(dispatch))),
            _order_start,
            3,
        ),
    )


def _calm(builder: Callable[..., Command], undo: Callable[..., Command]) -> CommandStep:
    """Nothing is sent again while so many are parked on a busy machine: that would be more history."""
    return command(builder, undo=undo, timeout=DAY, patience=2 * DAY)


def _order_saga(name: str, body: Block) -> Saga:
    return Saga(name=name, version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=body)


def _small_start(number: int) -> OutgoingRecord:
    asked = Asked(request_id=f"r{number}")
    envelope = Envelope(id=f"r{number}", source="/benchmarks", type=asked.type)
    return OutgoingRecord(asked.topic, asked.key.encode(), asked.to_json(), encode_headers(envelope))


def _order_start(number: int) -> OutgoingRecord:
    return order_record(number, "w")


def answers(commands: list[IncomingRecord]) -> Iterator[OutgoingRecord]:
    """What the automations say to these commands: that it is done."""
    for record in commands:
        envelope = decode_headers(record.headers)
        event = _done(envelope.type, record.value or b"")
        said = Envelope(
            id=f"answer-{envelope.id}",
            source="/counterpoint/benchmarks",
            type=event.type,
            process_id=envelope.process_id,
            causation_id=envelope.id,
        )
        yield OutgoingRecord(event.topic, event.key.encode(), event.to_json(), encode_headers(said))


def _done(type_name: str, data: bytes) -> Event:
    if type_name == ReserveStock.type:
        stock = ReserveStock.model_validate_json(data)
        lines = tuple(AllocatedLine(sku=one.sku, quantity=one.quantity, warehouse="east") for one in stock.lines)
        return StockReserved(order_id=stock.order_id, reservation_id=f"res-{stock.order_id}", lines=lines)
    if type_name == ChargePayment.type:
        asked = ChargePayment.model_validate_json(data)
        return PaymentCaptured(
            order_id=asked.order_id,
            payment_id=f"pay-{asked.order_id}",
            amount_cents=asked.amount_cents,
            currency=asked.currency,
        )
    label = CreateLabel.model_validate_json(data)
    tracking = f"1Z999AA1{label.order_id}"
    return LabelCreated(
        order_id=label.order_id, label_id=f"lab-{label.order_id}", carrier="swift", tracking_number=tracking
    )
