"""The orders of a load."""

from __future__ import annotations

from collections import Counter

from deploy.chaos.load import BATCH, OrderBook
from deploy.demo.baskets import read_baskets

BASKETS = read_baskets()[: 2 * BATCH + 30]


def drawn(seed: int) -> list[tuple[str, str]]:
    book, found = OrderBook(BASKETS, seed), []
    while (order := book.next()) is not None:
        found.append((order.placed.order_id, order.fate))
    assert book.left == 0
    return found


def test_a_book_gives_every_basket_once_and_then_nothing() -> None:
    ids = [order for order, _ in drawn(7)]
    assert len(ids) == len(set(ids)) == len(BASKETS)


def test_a_seed_gives_the_same_orders_and_another_seed_others() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_every_batch_meets_everything_that_goes_wrong() -> None:
    fates = Counter(fate for _, fate in drawn(7)[:BATCH])
    assert set(fates) == {"plain", "declined", "absent", "rejected", "silent", "lost", "flaky"}


def test_what_is_left_counts_down() -> None:
    book = OrderBook(BASKETS, 7)
    before = book.left
    book.next()
    assert before == len(BASKETS)
    assert book.left == before - 1
