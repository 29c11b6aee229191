"""Everything the demo publishes, in order: orders, repeats of some, and bad input with its due fate. Pure.

The producer is a stranger to this system: CloudEvents' required headers, a JSON value, nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from contracts.envelope import Envelope, encode_headers
from contracts.message import Message
from contracts.orders import OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured
from contracts.record import OutgoingRecord
from deploy.demo.orders import PlannedOrder

SOURCE = "/shop/web"
OTHER_SOURCE = "/shop/app"
SAGA = "order-fulfilment"
REPEATED_SHARE = 0.03
BAD_SHARE = 0.001
"""Of each kind of bad input, per order; at least one."""
TOO_LARGE_BYTES = 2 * 1024 * 1024
LONG_AGO = "2020-01-01T00:00:00Z"

Expectation = Literal["starts", "ignored", "dead-letter", "refused", "skipped", "answered"]


@dataclass(frozen=True, slots=True)
class Sending:
    """One record to publish, and what must become of it.

    `expects`: `starts` a process; is `ignored` with `reason` (in the history of `process`, if it has one); goes to
    dead letters with `reason`; is `refused` by the broker; is `skipped`; or is `answered` by a command-failed whose
    code is `reason`.
    """

    name: str
    record: OutgoingRecord
    expects: Expectation
    reason: str | None = None
    process: str | None = None
    message_id: str | None = None
    after_start: bool = False
    """Published once the process has started. It is on another topic than the start, and topics have no order among
    them: it could be read first, when there is no such process yet."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a sending went; `place` (topic, partition, offset) is None if the broker refused it."""

    sending: Sending
    place: tuple[str, int, int] | None
    at_ms: int


def plan_traffic(orders: Sequence[PlannedOrder], seed: int) -> tuple[Sending, ...]:
    """The orders in their order; a repeat or an attack on an order always comes after it. What waits for a process to
    start comes last, so that it holds nothing up."""
    chance = random.Random(f"{seed}/traffic")
    sendings = [start_of(order.placed) for order in orders]
    if len(orders) >= 2:
        sendings[:2] = _same_id(orders[0].placed, orders[1].placed)
    extras: list[tuple[int, Sending]] = []
    for _ in range(round(len(orders) * REPEATED_SHARE) or 1):
        number = chance.randrange(len(orders))
        extras.append((_later(number, len(orders), chance), repeat_of(sendings[number])))
    for number_of_kind, make in enumerate(_BAD):
        for turn in range(max(1, round(len(orders) * BAD_SHARE))):
            number = chance.randrange(len(orders))
            bad = make(orders[number].placed, f"bad-{number_of_kind}-{turn}")
            place = len(sendings) if bad.after_start else _later(number, len(orders), chance)
            extras.append((place, bad))
    for place, extra in sorted(extras, key=lambda pair: pair[0], reverse=True):
        sendings.insert(place, extra)
    return tuple(sorted(sendings, key=lambda sending: sending.after_start))


def _later(number: int, count: int, chance: random.Random) -> int:
    return chance.randint(number + 1, min(count, number + 100))


def process_of(order_id: str) -> str:
    return f"{SAGA}:{order_id}"


def _record(message: Message, id: str, source: str = SOURCE, *, value: bytes | None = None) -> OutgoingRecord:
    envelope = Envelope(id=id, source=source, type=message.type)
    body = message.to_json() if value is None else value
    return OutgoingRecord(message.topic, message.key.encode(), body, encode_headers(envelope))


def start_of(order: OrderPlaced) -> Sending:
    """The event that starts the order's process."""
    return Sending("order", _record(order, f"order-{order.order_id}"), "starts", process=process_of(order.order_id))


def _same_id(one: OrderPlaced, other: OrderPlaced) -> list[Sending]:
    """Two foreign producers that happen to use the same id: two orders all the same."""
    return [
        Sending("same id, two producers", _record(one, "1", SOURCE), "starts", process=process_of(one.order_id)),
        Sending(
            "same id, two producers", _record(other, "1", OTHER_SOURCE), "starts", process=process_of(other.order_id)
        ),
    ]


def repeat_of(first: Sending) -> Sending:
    """The same start event once more."""
    return replace(first, name="repeated event", expects="ignored", reason="duplicate-start")


# Bad input, one function a kind. `serial` tells the records apart.


def _changed_order(order: OrderPlaced, serial: str) -> Sending:
    """The same order again, with another payload."""
    other = order.model_copy(update={"customer_id": "somebody-else"})
    record = _record(other, serial)
    return Sending("repeated start, other payload", record, "ignored", "conflicting-start", process_of(order.order_id))


def _ghost(order: OrderPlaced, serial: str) -> OrderPlaced:
    """An order that must never exist."""
    return order.model_copy(update={"order_id": serial})


def _undecodable(order: OrderPlaced, serial: str) -> Sending:
    record = _record(_ghost(order, serial), serial, value=b'{"order_id": "' + serial.encode())
    return Sending("undecodable value", record, "dead-letter", "invalid-json")


def _header_missing(order: OrderPlaced, serial: str) -> Sending:
    record = _record(_ghost(order, serial), serial)
    headers = tuple(header for header in record.headers if header[0] != "ce_source")
    return Sending("header missing", record._replace(headers=headers), "dead-letter", "missing-attribute")


def _wrong_version(order: OrderPlaced, serial: str) -> Sending:
    record = _record(_ghost(order, serial), serial)
    headers = tuple((name, b"0.3" if name == "ce_specversion" else value) for name, value in record.headers)
    return Sending("wrong CloudEvents version", record._replace(headers=headers), "dead-letter", "wrong-specversion")


def _against_contract(order: OrderPlaced, serial: str) -> Sending:
    ghost = _ghost(order, serial)
    value = ghost.model_copy(update={"total_cents": ghost.total_cents + 1}).to_json()
    return Sending("against the contract", _record(ghost, serial, value=value), "dead-letter", "invalid-payload")


def _wrong_key(order: OrderPlaced, serial: str) -> Sending:
    record = _record(_ghost(order, serial), serial)._replace(key=b"another-order")
    return Sending("key differs from the payload", record, "dead-letter", "key-mismatch")


def _unknown_type(order: OrderPlaced, serial: str) -> Sending:
    record = _record(_ghost(order, serial), serial)
    headers = tuple((name, b"orders.wished-for.v1" if name == "ce_type" else value) for name, value in record.headers)
    return Sending("unknown event type", record._replace(headers=headers), "skipped")


def _too_large(order: OrderPlaced, serial: str) -> Sending:
    value = _ghost(order, serial).to_json()[:-1] + b', "padding": "' + b"x" * TOO_LARGE_BYTES + b'"}'
    return Sending("2 MB message", _record(_ghost(order, serial), serial, value=value), "refused")


def _answer(order: OrderPlaced, serial: str, process: str, causation: str) -> OutgoingRecord:
    captured = PaymentCaptured(
        order_id=order.order_id, payment_id=serial, amount_cents=order.total_cents, currency=order.currency
    )
    envelope = Envelope(id=serial, source=OTHER_SOURCE, type=captured.type, process_id=process, causation_id=causation)
    return OutgoingRecord(captured.topic, captured.key.encode(), captured.to_json(), encode_headers(envelope))


def _no_process(order: OrderPlaced, serial: str) -> Sending:
    process = process_of(serial)
    record = _answer(_ghost(order, serial), serial, process, f"{process}/charge/1")
    return Sending("outcome without a process", record, "ignored", "no-process")


def _not_awaited(order: OrderPlaced, serial: str) -> Sending:
    process = process_of(order.order_id)
    record = _answer(order, serial, process, f"{process}/charge/77")
    return Sending("outcome nobody awaits", record, "ignored", "not-awaited", process, after_start=True)


def _too_late(order: OrderPlaced, serial: str) -> Sending:
    """A command whose deadline has passed: the service refuses it, and charges nothing."""
    command = ChargePayment(order_id=serial, amount_cents=order.total_cents, currency="USD", payment_method="pm_card")
    process = process_of(serial)
    identity = f"{process}/charge/1"
    envelope = Envelope(
        id=identity,
        source=OTHER_SOURCE,
        type=command.type,
        process_id=process,
        idempotency_key=identity,
        deadline=LONG_AGO,
    )
    record = OutgoingRecord(command.topic, serial.encode(), command.to_json(), encode_headers(envelope))
    return Sending("command past its deadline", record, "answered", "deadline-exceeded", message_id=identity)


_BAD: tuple[Callable[[OrderPlaced, str], Sending], ...] = (
    _undecodable,
    _header_missing,
    _wrong_version,
    _against_contract,
    _wrong_key,
    _unknown_type,
    _too_large,
    _no_process,
    _changed_order,
    _not_awaited,
    _too_late,
)
