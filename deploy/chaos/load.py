"""The steady load: orders from the retail baskets at a fixed rate until asked to stop, and some of them repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from deploy.demo.baskets import Basket
from deploy.demo.orders import PlannedOrder, plan_orders
from deploy.demo.publisher_kafka import Publisher
from deploy.demo.traffic import REPEATED_SHARE, Published, Sending, process_of, repeat_of, start_of

BATCH = 100
"""Orders planned at a time: every batch holds some of each fate."""


class OrderBook:
    """All orders of one stack: no two have the same id, whatever the number of loads."""

    def __init__(self, baskets: Sequence[Basket], seed: int) -> None:
        chance = random.Random(f"{seed}/chaos")
        self._baskets = chance.sample(baskets, len(baskets))
        self._chance = chance
        self._used = 0
        self._waiting: list[PlannedOrder] = []

    @property
    def left(self) -> int:
        """How many more orders there are."""
        return len(self._baskets) - self._used + len(self._waiting)

    def next(self) -> PlannedOrder | None:
        """None: every basket was used."""
        if not self._waiting:
            chosen = self._baskets[self._used : self._used + BATCH]
            if not chosen:
                return None
            self._used += len(chosen)
            self._waiting = list(plan_orders(chosen, len(chosen), self._chance.randrange(2**32)))
        return self._waiting.pop()

    def repeats(self) -> bool:
        """Whether the shop sends the last order twice."""
        return self._chance.random() < REPEATED_SHARE


class Load:
    """One load: `orders` grows as they are acknowledged."""

    def __init__(self, kafka: str, book: OrderBook, rate: float, orders_max: int) -> None:
        """At most `rate` messages a second and `orders_max` orders, whatever happens."""
        self.orders: dict[str, PlannedOrder] = {}
        self.started_ms: dict[str, int] = {}
        """Append time of the start event, by process."""
        self._book = book
        self._orders_max = orders_max
        self._stopped = False
        self._planned: dict[str, PlannedOrder] = {}
        self._publisher = Publisher(kafka, rate, self._note)

    def stop(self) -> None:
        """No more orders after those that are on their way."""
        self._stopped = True

    async def run(self) -> None:
        """Return when it was stopped and everything is acknowledged."""
        await self._publisher.run(self._sendings())

    def _sendings(self) -> Iterator[Sending]:
        while not self._stopped and len(self._planned) < self._orders_max:
            order = self._book.next()
            if order is None:
                return
            start = start_of(order.placed)
            self._planned[process_of(order.placed.order_id)] = order
            yield start
            if self._book.repeats():
                yield repeat_of(start)

    def _note(self, published: Published) -> None:
        process = published.sending.process
        assert process is not None
        self.orders.setdefault(process, self._planned[process])
        self.started_ms.setdefault(process, published.at_ms)
