"""The stock port: what can be asked of stock, and what it promises.

Units of a sku in a warehouse are free (`on_hand`), `reserved` for an order, or `dispatched` (they have left). The sum
of the three changes only when a sku opens (FLOWS: stock rules).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from services.sdk.inbox_retention import RETENTION_MS, kept_ms

EARLY_DISPATCH_MS: Final = kept_ms(RETENTION_MS)
"""How long a dispatch that found no reservation waits for one: as long as the SDK keeps what was done (26 h). A command
that is older is not executed any more."""


FLOOR_TICK_MS: Final = 10


def floor_of(at_ms: int) -> int:
    """A revision above all that were announced before `at_ms`: they rise by one with each change, and no level changes
    a hundred times a second from one such renewal to the next (decision 0015). Hundredths of a second since the epoch
    are within what `inventory.stock-changed` can carry (10^12) until the year 2286."""
    return at_ms // FLOOR_TICK_MS


class ReservationRevokedError(RuntimeError):
    """The reservation was undone before (or without ever) being made: it is refused ever after (DESIGN section 4)."""

    def __init__(self, reservation_id: str) -> None:
        super().__init__(f"reservation {reservation_id} was released; it is never made again")
        self.reservation_id = reservation_id


class Demand(msgspec.Struct, frozen=True, gc=False):
    """Units of one sku that an order wants, from whatever warehouses have them."""

    sku: str
    quantity: int


class Allocation(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Units of one sku in one warehouse."""

    sku: str
    warehouse: str
    quantity: int


class Shortage(msgspec.Struct, frozen=True, gc=False, array_like=True):
    sku: str
    wanted: int
    available: int


class Change(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One sku's numbers in one warehouse after a change. `revision` rises by one with each."""

    sku: str
    warehouse: str
    on_hand: int
    reserved: int
    revision: int


class Movement(msgspec.Struct, frozen=True, gc=False):
    """What one request did. It is stored with the change, so that a repeat of the request gets the identical one (as
    JSON; its parts are arrays).

    `shortages` is not empty only for a refused reservation; then `lines` is empty, and `changes` tells at most of
    skus that opened.
    """

    at_ms: int = msgspec.field(name="at")
    lines: tuple[Allocation, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    changes: tuple[Change, ...] = ()


class Level(msgspec.Struct, frozen=True, gc=False):
    """One sku's numbers in one warehouse, for reconciliation."""

    sku: str
    warehouse: str
    on_hand: int
    reserved: int
    dispatched: int
    revision: int


class StockStore(Protocol):
    """Stock of all warehouses. Every method is one atomic step: others see all of it or nothing, and it is durable
    when the call returns. A call that is cancelled or breaks may have happened: repeat it with the same ids.

    `at_ms` is the caller's clock (milliseconds since the epoch) and is what a repeat of the request reports too.
    """

    async def reserve(self, order_id: str, reservation_id: str, demands: tuple[Demand, ...], *, at_ms: int) -> Movement:
        """Takes all demands or none. `demands` names each sku once. A sku that is seen for the first time opens. If
        the order was dispatched less than `EARLY_DISPATCH_MS` before, and nothing was reserved then, the units leave at
        once.

        Raises:
            ReservationRevokedError: a release covered this reservation before.
        """

    async def release(
        self, order_id: str, request_id: str, reservation_ids: tuple[str, ...] | None, *, at_ms: int
    ) -> Movement:
        """Gives back what the named reservations (None: all of the order) still hold, and revokes them for ever,
        also those that were never made. What has been dispatched is not given back."""

    async def dispatch(self, order_id: str, request_id: str, *, at_ms: int) -> Movement:
        """Units of the order's newest open reservation leave their warehouses, once per order. Without any, those
        of its next one do (a store that went back in time may see the dispatch first)."""

    def renew(self, *, at_ms: int) -> AsyncIterator[tuple[Change, ...]]:
        """After the store went back in time: gives every level, and every one that opens later, a revision above all
        that may have been announced, and yields the levels as changes, in pages. Nothing else about them changes.

        That is `floor_of(at_ms)`, or one more than the level has, if that is above. Others may change levels meanwhile.
        """

    def levels(self) -> AsyncIterator[Level]:
        """Every level that ever opened, in no order; a consistent picture only while nothing changes."""
