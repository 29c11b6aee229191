"""The reconciliation finds every discrepancy that is planted, and none where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.orders import Address, OrderLine, OrderPlaced
from deploy.demo.evidence import Evidence, LedgerEffect, StockLevel
from deploy.demo.reconciliation import Line, double_effects, reconcile, totals_of

ADDRESS = Address(name="n", street="s", city="c", postal_code="1", country="US")


def order(order_id: str, units: int, cents: int) -> OrderPlaced:
    lines = (OrderLine(sku="milk", quantity=units, unit_price_cents=cents),)
    return OrderPlaced(
        order_id=order_id,
        customer_id="c",
        lines=lines,
        total_cents=units * cents,
        currency="USD",
        ship_to=ADDRESS,
        payment_method="pm_card",
    )


def effect(kind: str, order_id: str, number: int = 1, **data: Any) -> LedgerEffect:
    provider = "payment" if kind in ("charge", "refund") else "carrier"
    return LedgerEffect(provider, kind, order_id, f"order-fulfilment:{order_id}/{kind}/{number}", data)


def world() -> Evidence:
    """o1 was fulfilled, o2 undone after everything had been done, o3 refused before anything was done."""
    return Evidence(
        placed={"o1": order("o1", 3, 199), "o2": order("o2", 2, 250), "o3": order("o3", 1, 100)},
        endings={"o1": ("fulfilled",), "o2": ("cancelled",), "o3": ("cancelled",)},
        ledger=(
            effect("charge", "o1", amount_cents=597),
            effect("charge", "o2", amount_cents=500),
            effect("label", "o1", label_id="l1"),
            effect("label", "o2", label_id="l2"),
            effect("void", "o2", label_ids=["l2"]),
            effect("refund", "o2", amount_cents=500),
            effect("dispatch", "o1", label_id="l1"),
        ),
        stock=(StockLevel("milk", on_hand=9_997, reserved=0, dispatched=3),),
        opening={"milk": 10_000},
    )


def broken(evidence: Evidence) -> dict[str, Line]:
    return {line.name: line for line in reconcile(evidence) if not line.holds}


def plus(evidence: Evidence, *more: LedgerEffect) -> Evidence:
    return replace(evidence, ledger=(*evidence.ledger, *more))


def without(evidence: Evidence, kind: str, order_id: str) -> Evidence:
    kept = tuple(one for one in evidence.ledger if (one.kind, one.reference) != (kind, order_id))
    return replace(evidence, ledger=kept)


def test_a_clean_world_reconciles_in_every_line() -> None:
    assert broken(world()) == {}
    totals = totals_of(world())
    assert (totals.captured_cents, totals.refunded_cents, totals.fulfilled_value_cents) == (1_097, 500, 597)
    assert (totals.labels_open, totals.reserved_units, totals.double_effects) == (0, 0, 0)


def test_a_second_charge_under_another_key_is_found_even_if_it_was_refunded() -> None:
    charged_twice = plus(world(), effect("charge", "o1", 2, amount_cents=597))
    assert set(broken(charged_twice)) == {"money", "money per order", "no effect twice"}
    refunded = plus(charged_twice, effect("refund", "o1", amount_cents=597))
    assert set(broken(refunded)) == {"no effect twice"}
    assert totals_of(refunded).double_effects == 1


def test_the_same_key_twice_is_one_double_effect() -> None:
    twice = plus(world(), effect("refund", "o2", amount_cents=500))
    assert [one.kind for one in double_effects(twice.ledger)] == ["refund"]
    assert {"money", "money per order", "no effect twice"} <= set(broken(twice))


@pytest.mark.parametrize("kind", ["label", "dispatch"])
def test_a_second_label_or_dispatch_is_found(kind: str) -> None:
    assert "no effect twice" in broken(plus(world(), effect(kind, "o1", 2, label_id="l9")))


def test_one_cent_off_is_found_in_total_and_at_its_order() -> None:
    ledger = (effect("charge", "o1", amount_cents=598), *world().ledger[1:])
    found = broken(replace(world(), ledger=ledger))
    assert found["money"].discrepancies == ("0.01 too much was kept",)
    assert found["money per order"].discrepancies == ("order o1: kept 5.98, due 5.97",)


def test_two_errors_that_cancel_out_in_total_are_found_per_order() -> None:
    ledger = (effect("charge", "o1", amount_cents=598), effect("charge", "o2", amount_cents=499), *world().ledger[2:])
    assert set(broken(replace(world(), ledger=ledger))) == {"money per order"}


def test_a_missing_refund_is_found() -> None:
    found = broken(without(world(), "refund", "o2"))
    assert found["money per order"].discrepancies == ("order o2: kept 5.00, due 0.00",)


def test_a_charge_for_an_order_that_was_never_placed_is_found() -> None:
    found = broken(plus(world(), effect("charge", "ghost", amount_cents=1)))
    assert found["money per order"].discrepancies == ("order ghost: kept 0.01, due 0.00",)


def test_an_open_label_of_a_cancelled_order_is_found() -> None:
    evidence = without(world(), "void", "o2")
    assert set(broken(evidence)) == {"labels"}
    assert totals_of(evidence).labels_open == 1


def test_a_voided_label_of_a_fulfilled_order_is_found() -> None:
    assert "labels" in broken(plus(world(), effect("void", "o1", label_ids=["l1"])))


def test_a_parcel_of_a_cancelled_order_and_a_fulfilled_order_without_one_are_found() -> None:
    assert set(broken(plus(world(), effect("dispatch", "o2", label_id="l2")))) == {"parcels"}
    assert set(broken(without(world(), "dispatch", "o1"))) == {"parcels"}


def test_one_unit_lost_or_conjured_is_found() -> None:
    for on_hand in (9_996, 9_998):
        evidence = replace(world(), stock=(StockLevel("milk", on_hand, 0, 3),))
        assert set(broken(evidence)) == {"stock"}


def test_units_still_reserved_at_rest_are_found() -> None:
    evidence = replace(world(), stock=(StockLevel("milk", 9_995, 2, 3),))
    assert set(broken(evidence)) == {"reservations"}
    assert totals_of(evidence).reserved_units == 2


def test_goods_that_left_without_an_order_are_found() -> None:
    evidence = replace(world(), stock=(StockLevel("milk", 9_995, 0, 5),))
    assert set(broken(evidence)) == {"goods"}


def test_a_shelf_that_vanished_is_found() -> None:
    assert set(broken(replace(world(), stock=()))) == {"goods"}


@pytest.mark.parametrize(
    "endings",
    [
        {"o1": ("fulfilled",), "o2": ("cancelled",)},
        {"o1": ("fulfilled",), "o2": ("cancelled",), "o3": ("cancelled", "cancelled")},
        {"o1": ("fulfilled",), "o2": ("cancelled",), "o3": ("cancelled",), "ghost": ("cancelled",)},
    ],
)
def test_an_order_that_never_ended_ended_twice_or_never_was_is_found(endings: dict[str, Any]) -> None:
    assert "orders" in broken(replace(world(), endings=endings))


def test_an_order_announced_as_both_is_found() -> None:
    evidence = replace(world(), endings={**world().endings, "o1": ("fulfilled", "cancelled")})
    assert "orders" in broken(evidence)
