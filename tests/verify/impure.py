"""Builders that are not pure, one way each. The marked line is where the finding points."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

from contracts.orders import OrderPlaced
from contracts.payment import PaymentCaptured
from contracts.shipping import DispatchOrder

CARRIERS = {"DE": "dhl"}
SEEN: list[str] = []


def reads_a_clock(order: OrderPlaced) -> DispatchOrder:
    now = datetime.now(UTC)  # <- reads_a_clock
    return DispatchOrder(order_id=order.order_id, label_id=now.isoformat())


def reads_time(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=str(time.time()))  # <- reads_time


def draws(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=random.choice("ab"))  # <- draws


def imports(order: OrderPlaced) -> DispatchOrder:
    import os  # <- imports

    return DispatchOrder(order_id=order.order_id, label_id=os.name)


def opens(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=open("label").name)  # <- opens  # noqa: PTH123


def prints(order: OrderPlaced) -> DispatchOrder:
    print(order)  # <- prints
    return DispatchOrder(order_id=order.order_id, label_id="l")


def counts(order: OrderPlaced) -> DispatchOrder:
    global COUNT  # <- counts  # noqa: PLW0603
    COUNT = 1
    return DispatchOrder(order_id=order.order_id, label_id="l")


COUNT = 0


def assigns(order: OrderPlaced) -> DispatchOrder:
    order.order_id = "o"  # type: ignore[misc] # <- assigns
    return DispatchOrder(order_id=order.order_id, label_id="l")


def grows(order: OrderPlaced) -> DispatchOrder:
    lines = list(order.lines)
    lines += order.lines  # <- grows
    return DispatchOrder(order_id=order.order_id, label_id=str(len(lines)))


def remembers(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=SEEN[0])  # <- remembers


def looks_up(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=CARRIERS["DE"])  # <- looks_up


def hashes(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=str(hash(order.order_id)))  # <- hashes


def orders_by_chance(order: OrderPlaced) -> DispatchOrder:
    label = "".join({line.sku for line in order.lines})  # <- orders_by_chance
    return DispatchOrder(order_id=order.order_id, label_id=label)


def makes_a_set(order: OrderPlaced) -> DispatchOrder:
    label = "".join(set(order.order_id))  # <- makes_a_set
    return DispatchOrder(order_id=order.order_id, label_id=label)


def shows_an_address(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=f"{_stamp}")  # <- shows_an_address


def calls_a_method(order: OrderPlaced) -> DispatchOrder:
    return order.publish()  # type: ignore[attr-defined, no-any-return] # <- calls_a_method


def tries(order: OrderPlaced) -> DispatchOrder:
    try:  # <- tries
        return DispatchOrder(order_id=order.order_id, label_id="l")
    except ValueError:
        return DispatchOrder(order_id=order.order_id, label_id="m")


def waits(order: OrderPlaced) -> DispatchOrder:
    while not order.lines:  # <- waits
        pass
    return DispatchOrder(order_id=order.order_id, label_id="l")


def reaches_inside(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=str(order.__dict__))  # <- reaches_inside


def asks_a_helper(order: OrderPlaced) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=_label(order))


def _label(order: OrderPlaced) -> str:
    return f"{order.order_id}-{_stamp()}"


def _stamp() -> float:
    return time.monotonic()  # <- asks_a_helper


def repeats(order: OrderPlaced) -> DispatchOrder:  # <- repeats
    return repeats(order)


def shadows(order: OrderPlaced) -> DispatchOrder:  # <- shadows
    names = [time for time in order.lines]  # noqa: C416
    return DispatchOrder(order_id=order.order_id, label_id=str(len(names)))


def refunds_by_chance(order: OrderPlaced, captured: PaymentCaptured | None) -> DispatchOrder:
    return DispatchOrder(order_id=order.order_id, label_id=random.choice("ab"))  # <- refunds_by_chance


def compares_identities(order: OrderPlaced) -> DispatchOrder:
    same = order.order_id is order.customer_id  # <- compares_identities
    return DispatchOrder(order_id=order.order_id, label_id=str(same))


def computes_with_views(order: OrderPlaced) -> DispatchOrder:
    skus = {line.sku: 1 for line in order.lines}
    others = skus.keys() - {"a": 1}.keys()  # <- computes_with_views
    return DispatchOrder(order_id=order.order_id, label_id="".join(others))
