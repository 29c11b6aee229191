"""What the inventory service does with each message: the wish in, the answer and every change of a level out."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from contracts.inventory import (
    AllocatedLine,
    MissingLine,
    ReleaseStock,
    ReserveStock,
    StockChanged,
    StockLine,
    StockReleased,
    StockReserved,
    StockUnavailable,
)
from contracts.shipping import OrderDispatched
from services.inventory.resources import connect
from services.inventory.stock import Demand, Movement, ReservationRevokedError, StockStore
from services.sdk import Delivery, NotDone, Service
from services.sdk.surroundings import Surroundings

QUANTITY_MAX: Final = 10**9
"""Of one sku over all lines of an order; what `inventory.unavailable` can carry (contracts.message.Quantity)."""
OUTAGE_SECONDS_MAX: Final = 900.0
"""How long one execution waits for its store: a command's default patience (DESIGN section 4), after which nobody
waits for the answer."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

service = Service("inventory", resources=connect, contexts=("inventory",))


@service.handles(ReserveStock, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def reserve(
    command: ReserveStock, stock: StockStore, around: Surroundings, delivery: Delivery
) -> tuple[StockReserved | StockUnavailable | StockChanged, ...]:
    reservation_id = reservation_of(delivery.idempotency_key)
    demands = demands_of(command.lines)
    try:
        movement = await stock.reserve(command.order_id, reservation_id, demands, at_ms=around.now_ms())
    except ReservationRevokedError as error:
        raise NotDone("revoked", str(error)) from error
    return (reservation_answer(command.order_id, reservation_id, movement), *changes_of(movement))


@service.handles(ReleaseStock, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def release(
    command: ReleaseStock, stock: StockStore, around: Surroundings, delivery: Delivery
) -> tuple[StockReleased | StockChanged, ...]:
    movement = await stock.release(
        command.order_id,
        request_of(delivery.idempotency_key),
        covered_reservations(command, delivery.undoes),
        at_ms=around.now_ms(),
    )
    return (StockReleased(order_id=command.order_id, lines=lines_of(movement)), *changes_of(movement))


@service.handles(OrderDispatched, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def dispatched(
    event: OrderDispatched, stock: StockStore, around: Surroundings, delivery: Delivery
) -> tuple[StockChanged, ...]:
    """Choreographed: whoever dispatched the order, its reserved units have left the warehouse."""
    request_id = request_of(delivery.idempotency_key)
    return changes_of(await stock.dispatch(event.order_id, request_id, at_ms=around.now_ms()))


@service.after_rewind
async def tell_levels_again(stock: StockStore, around: Surroundings) -> AsyncIterator[tuple[StockChanged, ...]]:
    """The replay may reserve in other warehouses than were announced, and readers keep the highest revision."""
    at_ms = around.now_ms()
    async for changes in stock.renew(at_ms=at_ms):
        yield changes_of(Movement(at_ms, changes=changes))


def demands_of(lines: Iterable[StockLine]) -> tuple[Demand, ...]:
    """Each sku once, in the order of its first line: the quantities of repeated lines add up.

    Raises:
        NotDone: a sum that no answer could carry.
    """
    wanted: dict[str, int] = {}
    for line in lines:
        wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
    for sku, quantity in wanted.items():
        if quantity > QUANTITY_MAX:
            raise NotDone("quantity-too-large", f"{quantity} units of {sku} are more than the {QUANTITY_MAX} allowed")
    return tuple(Demand(sku, quantity) for sku, quantity in wanted.items())


def covered_reservations(command: ReleaseStock, undoes: tuple[str, ...]) -> tuple[str, ...] | None:
    """The ids that an undo covers decide alone (decision 0033); else the named reservation, else (None) all of the
    order's."""
    if undoes:
        return tuple(reservation_of(command_id) for command_id in undoes)
    return None if command.reservation_id is None else (command.reservation_id,)


def reservation_of(command_id: str) -> str:
    """The reservation that a command makes: an undo finds it by the command's id alone."""
    return f"res-{_digest(command_id)}"


def request_of(idempotency_key: str) -> str:
    """The store's name for a release or dispatch: short, and free of the blanks that separate ids there."""
    return f"req-{_digest(idempotency_key)}"


def reservation_answer(order_id: str, reservation_id: str, movement: Movement) -> StockReserved | StockUnavailable:
    if not movement.shortages:
        return StockReserved(order_id=order_id, reservation_id=reservation_id, lines=lines_of(movement))
    missing = (MissingLine(sku=one.sku, wanted=one.wanted, available=one.available) for one in movement.shortages)
    return StockUnavailable(order_id=order_id, missing=tuple(missing))


def lines_of(movement: Movement) -> tuple[AllocatedLine, ...]:
    return tuple(
        AllocatedLine(sku=line.sku, quantity=line.quantity, warehouse=line.warehouse) for line in movement.lines
    )


def changes_of(movement: Movement) -> tuple[StockChanged, ...]:
    """One event for each new revision, all at the time that the store keeps: a repeat gives equal events."""
    changed_at = EPOCH + timedelta(milliseconds=movement.at_ms)
    return tuple(
        StockChanged(
            sku=change.sku,
            warehouse=change.warehouse,
            on_hand=change.on_hand,
            reserved=change.reserved,
            revision=change.revision,
            changed_at=changed_at,
        )
        for change in movement.changes
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
