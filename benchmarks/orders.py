"""The orders of the benchmark: small baskets of a few products, made from a number alone; one in five is declined."""

from __future__ import annotations

from benchmarks.peers.flow import is_declined
from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.record import OutgoingRecord
from contracts.topics import DOMAIN_PARTITIONS

PRODUCTS = 2_000
LINES = 3
_HOME = Address(name="A. Customer", street="1 Long Road", city="Springfield", postal_code="12345", country="US")


def order_of(number: int, run: str) -> OrderPlaced:
    """Order `number`; `run` keeps the ids of two runs apart."""
    lines = tuple(
        OrderLine(sku=f"p{(number * 31 + line * 7) % PRODUCTS}", quantity=1 + line, unit_price_cents=199)
        for line in range(LINES)
    )
    return OrderPlaced(
        order_id=f"{run}-{number}",
        customer_id=f"c{number % 1000}",
        lines=lines,
        total_cents=sum(line.quantity * line.unit_price_cents for line in lines),
        currency="USD",
        ship_to=_HOME,
        payment_method="pm_declined" if is_declined(number) else "pm_card",
    )


def order_record(number: int, run: str) -> OutgoingRecord:
    """Its `orders.placed.v1` record."""
    order = order_of(number, run)
    envelope = Envelope(id=f"{run}-{number}", source="/benchmarks", type=order.type)
    partition = partition_of(order.order_id, DOMAIN_PARTITIONS)
    return OutgoingRecord(order.topic, order.key.encode(), order.to_json(), encode_headers(envelope), partition)
