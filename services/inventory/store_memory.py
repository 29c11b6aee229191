"""Stock in this process: the public fake, and the readable statement of what the Lua scripts do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from services.inventory.opening import OpeningRule
from services.inventory.stock import (
    EARLY_DISPATCH_MS,
    Allocation,
    Change,
    Demand,
    Level,
    Movement,
    ReservationRevokedError,
    Shortage,
    floor_of,
)

Levels = dict[str, dict[str, Level]]
"""By sku, then warehouse."""


@dataclass(slots=True)
class _Order:
    movements: dict[str, Movement] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """Reservation ids, oldest first."""
    revoked: set[str] = field(default_factory=set)
    dispatched: bool = False
    early_ms: int | None = None
    """When a dispatch came that found no reservation."""

    def left_before(self, at_ms: int) -> bool:
        """Whether a reservation that is made now was dispatched before."""
        return self.early_ms is not None and at_ms - self.early_ms <= EARLY_DISPATCH_MS


class MemoryStock:
    """The StockStore in memory; no method awaits, so each is atomic. Keeps every order: for tests and benchmarks."""

    def __init__(self, opening: OpeningRule) -> None:
        self._opening = opening
        self._levels: Levels = {}
        self._orders: dict[str, _Order] = {}
        self._floor = 1

    async def reserve(self, order_id: str, reservation_id: str, demands: tuple[Demand, ...], *, at_ms: int) -> Movement:
        order = self._orders.setdefault(order_id, _Order())
        if reservation_id in order.revoked:
            raise ReservationRevokedError(reservation_id)
        if reservation_id in order.movements:
            return order.movements[reservation_id]
        changes = self._open(demands)
        shortages = tuple(
            Shortage(demand.sku, demand.quantity, available)
            for demand in demands
            if (available := self._available(demand.sku)) < demand.quantity
        )
        lines: tuple[Allocation, ...] = ()
        if not shortages:
            lines = tuple(line for demand in demands for line in allocate(self._levels[demand.sku].values(), demand))
            changes += self._move(lines, on_hand=-1, reserved=+1)
            if order.left_before(at_ms):
                changes += self._move(lines, reserved=-1, dispatched=+1)
                order.dispatched, order.early_ms = True, None
            else:
                order.open.append(reservation_id)
        order.movements[reservation_id] = Movement(at_ms, lines, shortages, changes)
        return order.movements[reservation_id]

    async def release(
        self, order_id: str, request_id: str, reservation_ids: tuple[str, ...] | None, *, at_ms: int
    ) -> Movement:
        order = self._orders.setdefault(order_id, _Order())
        if request_id in order.movements:
            return order.movements[request_id]
        ended = [one for one in order.open if reservation_ids is None or one in reservation_ids]
        order.revoked.update(ended if reservation_ids is None else reservation_ids)
        return self._end(order, request_id, ended, at_ms, on_hand=+1)

    async def dispatch(self, order_id: str, request_id: str, *, at_ms: int) -> Movement:
        order = self._orders.setdefault(order_id, _Order())
        if request_id in order.movements:
            return order.movements[request_id]
        ended = [] if order.dispatched else order.open[-1:]
        if not order.dispatched:
            order.early_ms = None if ended else at_ms
        order.dispatched = order.dispatched or bool(ended)
        return self._end(order, request_id, ended, at_ms, dispatched=+1)

    async def renew(self, *, at_ms: int) -> AsyncIterator[tuple[Change, ...]]:
        self._floor = max(self._floor, floor_of(at_ms))
        for sku in list(self._levels):
            for warehouse, level in self._levels[sku].items():
                self._levels[sku][warehouse] = replace(level, revision=max(level.revision + 1, self._floor))
            yield tuple(_change(level) for level in self._levels[sku].values())

    async def levels(self) -> AsyncIterator[Level]:
        for by_warehouse in list(self._levels.values()):
            for level in list(by_warehouse.values()):
                yield level

    def _open(self, demands: tuple[Demand, ...]) -> tuple[Change, ...]:
        opened: list[Level] = []
        for demand in demands:
            opening = self._opening(demand.sku)
            if demand.sku not in self._levels and opening:
                fresh = {name: Level(demand.sku, name, units, 0, 0, self._floor) for name, units in opening.items()}
                self._levels[demand.sku] = fresh
                opened += fresh.values()
        return tuple(_change(level) for level in opened)

    def _available(self, sku: str) -> int:
        return sum(level.on_hand for level in self._levels.get(sku, {}).values())

    def _end(
        self, order: _Order, request_id: str, ended: list[str], at_ms: int, *, on_hand: int = 0, dispatched: int = 0
    ) -> Movement:
        lines = _summed(line for one in ended for line in order.movements[one].lines)
        changes = self._move(lines, on_hand=on_hand, reserved=-1, dispatched=dispatched)
        order.open = [one for one in order.open if one not in ended]
        order.movements[request_id] = Movement(at_ms, lines, (), changes)
        return order.movements[request_id]

    def _move(
        self, lines: tuple[Allocation, ...], *, on_hand: int = 0, reserved: int, dispatched: int = 0
    ) -> tuple[Change, ...]:
        """Adds each line's quantity, times the given sign, to the three numbers."""
        changes = []
        for line in lines:
            level = self._levels[line.sku][line.warehouse]
            level = replace(
                level,
                on_hand=level.on_hand + on_hand * line.quantity,
                reserved=level.reserved + reserved * line.quantity,
                dispatched=level.dispatched + dispatched * line.quantity,
                revision=level.revision + 1,
            )
            self._levels[line.sku][line.warehouse] = level
            changes.append(_change(level))
        return tuple(changes)


def allocate(levels: Iterable[Level], demand: Demand) -> tuple[Allocation, ...]:
    """The warehouse with most free units first, ties by name: a line is split only if no warehouse can fill it alone.
    The caller has checked that the levels have enough."""
    lines: list[Allocation] = []
    wanted = demand.quantity
    for level in sorted(levels, key=lambda level: (-level.on_hand, level.warehouse)):
        if wanted == 0:
            break
        taken = min(wanted, level.on_hand)
        lines.append(Allocation(level.sku, level.warehouse, taken))
        wanted -= taken
    assert wanted == 0, f"{demand} exceeds what is there"
    return tuple(lines)


def _change(level: Level) -> Change:
    return Change(level.sku, level.warehouse, level.on_hand, level.reserved, level.revision)


def _summed(lines: Iterable[Allocation]) -> tuple[Allocation, ...]:
    totals: dict[tuple[str, str], int] = {}
    for line in lines:
        totals[line.sku, line.warehouse] = totals.get((line.sku, line.warehouse), 0) + line.quantity
    return tuple(Allocation(sku, warehouse, quantity) for (sku, warehouse), quantity in totals.items())
