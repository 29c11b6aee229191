"""Functions whose result depends on the order of hashes, and some whose does not. Imported by child processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import ConfigDict

from contracts.inventory import ReserveStock, StockLine
from contracts.message import Command, Event, Identifier
from contracts.orders import OrderCancelled, OrderLine, OrderPlaced
from contracts.shipping import DispatchOrder
from orchestrator.language import Ending, Stuck


def iterates_over_a_set(order: OrderPlaced) -> ReserveStock:  # <- iterates_over_a_set
    skus = {line.sku for line in order.lines}
    return ReserveStock(order_id=order.order_id, lines=tuple(StockLine(sku=sku, quantity=1) for sku in skus))


def takes_any(order: OrderPlaced) -> DispatchOrder:  # <- takes_any
    return DispatchOrder(order_id=order.order_id, label_id=next(iter({line.sku for line in order.lines})))


def hashes(order: OrderPlaced) -> DispatchOrder:  # <- hashes
    return DispatchOrder(order_id=order.order_id, label_id=str(hash(order.order_id)))


def dict_from_a_set(order: OrderPlaced) -> DispatchOrder:  # <- dict_from_a_set
    counts = dict.fromkeys({line.sku for line in order.lines}, 1)
    return DispatchOrder(order_id=order.order_id, label_id=",".join(counts))


def in_a_helper(order: OrderPlaced) -> DispatchOrder:  # <- in_a_helper
    return DispatchOrder(order_id=order.order_id, label_id=_joined(order))


def _joined(order: OrderPlaced) -> str:
    return "-".join({line.sku for line in order.lines})


def raises_a_set(order: OrderPlaced) -> DispatchOrder:  # <- raises_a_set
    raise ValueError({line.sku for line in order.lines})


def elements(order: OrderPlaced) -> tuple[OrderLine, ...]:  # <- elements
    return tuple(sorted(order.lines, key=lambda line: hash(line.sku)))


def holds(order: OrderPlaced) -> bool:  # <- holds
    return hash(order.order_id) % 2 == 0


def moment(order: OrderPlaced) -> datetime:  # <- moment
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=hash(order.order_id) % 1_000)


def alert(order: OrderPlaced, stuck: Stuck) -> OrderCancelled:  # <- alert
    return OrderCancelled(order_id=order.order_id, customer_id=str(hash(stuck.address)), reason="operator")


def told(order: OrderPlaced, ending: Ending) -> OrderCancelled:  # <- told
    return OrderCancelled(order_id=order.order_id, customer_id=str(hash(ending.reason)), reason="operator")


class Tagged(Event, type="orders.tagged.v1"):
    model_config = ConfigDict(frozen=True)

    order_id: Identifier


class Tag(Command, type="orders.tag.v1", succeeds=Tagged):
    """A contract with a set: what JSON makes of it depends on the seed, and no text of a builder shows it."""

    order_id: Identifier
    tags: frozenset[str]


def innocent(order: OrderPlaced) -> Tag:  # <- innocent
    return Tag(order_id=order.order_id, tags=tuple(line.sku for line in order.lines))  # type: ignore[arg-type]


def sorts(order: OrderPlaced) -> ReserveStock:
    skus = sorted({line.sku for line in order.lines})
    return ReserveStock(order_id=order.order_id, lines=tuple(StockLine(sku=sku, quantity=1) for sku in skus))


def counts(order: OrderPlaced, tagged: Tagged | None, all_tagged: tuple[Tagged, ...]) -> DispatchOrder:
    label = f"{len({line.sku for line in order.lines})}{tagged is None}{len(all_tagged)}"
    return DispatchOrder(order_id=order.order_id, label_id=label)


class Nested:
    """Not reachable as a plain function of the module."""

    @staticmethod
    def make(order: OrderPlaced) -> DispatchOrder:
        return DispatchOrder(order_id=order.order_id, label_id="x")
