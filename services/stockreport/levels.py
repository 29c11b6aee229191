"""What is known of stock, as a port: the newest level of each sku in each warehouse.

Adapters: `store_redis`, `store_memory`; both pass `tests/stockreport/test_store.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class Level(NamedTuple):
    sku: str
    warehouse: str
    on_hand: int
    reserved: int
    revision: int


class LevelStore(Protocol):
    async def note(self, level: Level) -> bool:
        """Keep it, unless one of the same or a higher revision is there: events may come twice, and not in order. False
        if it was not kept. Waits while the store is away."""
        ...

    def levels(self) -> AsyncIterator[Level]:
        """Every level once, in no order. A consistent picture only while nothing changes."""
        ...
