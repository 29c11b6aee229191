"""Nothing of ours is needed to take part: other people's Kafka client and CloudEvents SDK publish an order, and stand
in for the payment service by docs/protocol.md alone. (Only the stack itself is started by our code.)"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from cloudevents.core.bindings.kafka import to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, Message, Producer

from deploy.local.stack import Stack

pytestmark = pytest.mark.stack
SECONDS_MAX = 60


def required_headers(message_type: str, source: str) -> dict[str, str]:
    return {"id": str(uuid.uuid4()), "source": source, "type": message_type, "specversion": "1.0"}


def publish(producer: Producer, topic: str, event: CloudEvent, key: str | None) -> None:
    message = to_binary(event, JSONFormat())
    producer.produce(topic, value=message.value, key=key, headers=list(message.headers.items()))
    assert producer.flush(10) == 0


class PaymentStandIn:
    """A payment service of somebody else: declines what is marked so, captures the rest, refunds what it captured."""

    def __init__(self, kafka: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": kafka, "group.id": "somebody-elses-payment", "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe(["payment.commands"])
        self._producer = Producer({"bootstrap.servers": kafka})
        self._answers: dict[str, tuple[str, dict[str, object]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.seen: list[str] = []

    def __enter__(self) -> PaymentStandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.2)
            if message is not None and not message.error():
                self._answer(message)

    def _answer(self, message: Message) -> None:
        headers = {name: value.decode() for name, value in message.headers() or []}
        command = json.loads(message.value() or b"{}")
        key = headers["ce_idempotencykey"]
        self.seen.append(key)
        if key not in self._answers:
            self._answers[key] = self._execute(headers["ce_type"], command)
        answer_type, data = self._answers[key]
        attributes = required_headers(answer_type, "/somebody-else/payment")
        attributes["processid"] = headers["ce_processid"]
        attributes["causationid"] = headers["ce_id"]
        publish(self._producer, "payment.events", CloudEvent(attributes, data), command["order_id"])

    def _execute(self, command_type: str, command: dict[str, object]) -> tuple[str, dict[str, object]]:
        order = command["order_id"]
        if command_type == "payment.refund.v1":
            return "payment.refunded.v1", {"order_id": order, "amount_cents": 0, "currency": "EUR"}
        if command["payment_method"] == "pm_declined":
            return "payment.declined.v1", {"order_id": order, "code": "do_not_honour"}
        captured = {"order_id": order, "payment_id": f"pay-{order}", "amount_cents": command["amount_cents"]}
        return "payment.captured.v1", captured | {"currency": command["currency"]}


@pytest.fixture
def payment(stack_without_payment: Stack) -> Iterator[PaymentStandIn]:
    with PaymentStandIn(stack_without_payment.endpoints.kafka) as stand_in:
        yield stand_in


def order(payment_method: str) -> dict[str, object]:
    return {
        "order_id": f"stranger-{uuid.uuid4().hex[:12]}",
        "customer_id": "c1",
        "lines": [{"sku": "green-tea", "quantity": 2, "unit_price_cents": 450}],
        "total_cents": 900,
        "currency": "EUR",
        "ship_to": {
            "name": "Ada",
            "street": "1 Loop Lane",
            "city": "Turin",
            "postal_code": "10121",
            "country": "IT",
        },
        "payment_method": payment_method,
    }


def wait_for(kafka: str, types: set[str], order_id: str) -> tuple[str, dict[str, object]]:
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": f"watch-{uuid.uuid4()}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["orders.events"])
    try:
        ends = time.monotonic() + SECONDS_MAX
        while time.monotonic() < ends:
            message = consumer.poll(0.5)
            if message is None or message.error():
                continue
            headers = dict(message.headers() or [])
            data = json.loads(message.value() or b"{}")
            if headers["ce_type"].decode() in types and data["order_id"] == order_id:
                return headers["ce_type"].decode(), data
        raise AssertionError(f"no {types} for {order_id} within {SECONDS_MAX} s")
    finally:
        consumer.close()


ENDS = {"orders.fulfilled.v1", "orders.cancelled.v1"}


@pytest.mark.parametrize("with_key", [True, False])
def test_an_order_published_with_the_required_headers_only_is_fulfilled(
    stack_without_payment: Stack, payment: PaymentStandIn, with_key: bool
) -> None:
    kafka = stack_without_payment.endpoints.kafka
    placed = order("pm_card")
    event = CloudEvent(required_headers("orders.placed.v1", "/a-web-shop"), placed)
    publish(
        Producer({"bootstrap.servers": kafka}), "orders.events", event, str(placed["order_id"]) if with_key else None
    )
    kind, data = wait_for(kafka, ENDS, str(placed["order_id"]))
    assert kind == "orders.fulfilled.v1"
    assert data["tracking_number"]
    assert f"order-fulfilment:{placed['order_id']}/charge/1" in payment.seen


def test_a_stand_in_that_declines_has_the_order_undone(stack_without_payment: Stack, payment: PaymentStandIn) -> None:
    kafka = stack_without_payment.endpoints.kafka
    placed = order("pm_declined")
    event = CloudEvent(required_headers("orders.placed.v1", "/a-web-shop"), placed)
    publish(Producer({"bootstrap.servers": kafka}), "orders.events", event, None)
    kind, data = wait_for(kafka, ENDS, str(placed["order_id"]))
    assert kind == "orders.cancelled.v1"
    assert (data["reason"], data["step"]) == ("refused", "charge")
