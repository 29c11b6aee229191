"""Order fulfilment as its business people would tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from contracts.inventory import AllocatedLine, ReleaseStock, StockReleased, StockReserved, StockUnavailable
from contracts.orders import OrderCancelled, OrderFulfilled, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured, PaymentDeclined, PaymentRefunded, RefundPayment
from contracts.shipping import AddressRejected, LabelCreated, LabelVoided, OrderDispatched
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from orchestrator.testkit import Story, Unexpected

ORDER = OrderPlaced.model_validate(
    {
        "order_id": "o1",
        "customer_id": "c1",
        "customer_email": "ann@example.org",
        "lines": [{"sku": "tea", "quantity": 2, "unit_price_cents": 350}],
        "total_cents": 700,
        "currency": "EUR",
        "ship_to": {
            "name": "Ann",
            "street": "Main Street 1",
            "city": "Springfield",
            "postal_code": "12345",
            "country": "US",
        },
        "payment_method": "pm_card",
    }
)
RESERVED = StockReserved(
    order_id="o1", reservation_id="r1", lines=(AllocatedLine(sku="tea", quantity=2, warehouse="east"),)
)
RELEASED = StockReleased(order_id="o1", lines=RESERVED.lines)
CAPTURED = PaymentCaptured(order_id="o1", payment_id="p1", amount_cents=700, currency="EUR")
REFUNDED = PaymentRefunded(order_id="o1", amount_cents=700, currency="EUR")
LABEL = LabelCreated(order_id="o1", label_id="l1", carrier="swift", tracking_number="t1")
DISPATCHED = OrderDispatched(order_id="o1", tracking_number="t1", dispatched_at=datetime(2026, 1, 2, tzinfo=UTC))


def placed() -> Story:
    story = Story(ORDER_FULFILMENT).starts(ORDER)
    return story.announces("started").sends("reserve", "charge", "create_label")


def ready_to_dispatch() -> Story:
    story = placed().succeeds("reserve", RESERVED).succeeds("charge", CAPTURED).succeeds("create_label", LABEL)
    return story.sends("dispatch")


def test_an_order_is_fulfilled() -> None:
    story = ready_to_dispatch().succeeds("dispatch", DISPATCHED)

    fulfilled = story.emitted(OrderFulfilled)
    assert (fulfilled.order_id, fulfilled.tracking_number) == ("o1", "t1")
    story.announces("completed").ends("completed")


def test_a_declined_payment_gives_the_stock_back_and_voids_the_label() -> None:
    story = placed().succeeds("reserve", RESERVED)
    story.refuses("charge", PaymentDeclined(order_id="o1", code="insufficient_funds"))
    story.announces("compensating").undoes("reserve").goes_on()
    story.succeeds("create_label", LABEL).undoes("create_label")  # it was under way, and is undone when it is there
    story.undone("create_label", LabelVoided(order_id="o1", label_id="l1"))
    story.undone("reserve", RELEASED)

    cancelled = story.emitted(OrderCancelled)
    assert (cancelled.reason, cancelled.step, cancelled.customer_email) == ("refused", "charge", "ann@example.org")
    story.announces("compensated").ends("compensated")
    assert story.undo("reserve").message == ReleaseStock(order_id="o1", reservation_id="r1")


def test_missing_stock_refunds_the_payment() -> None:
    story = placed().succeeds("charge", CAPTURED).succeeds("create_label", LABEL)
    missing = {"sku": "tea", "wanted": 2, "available": 1}
    story.refuses("reserve", StockUnavailable.model_validate({"order_id": "o1", "missing": [missing]}))
    story.undoes("charge", "create_label")
    story.undone("charge", REFUNDED).undone("create_label", LabelVoided(order_id="o1"))

    assert story.emitted(OrderCancelled).step == "reserve"
    story.ends("compensated")
    assert story.undo("charge").message == RefundPayment(order_id="o1", payment_id="p1")


def test_a_rejected_address_before_anything_else_has_answered_leaves_nothing_to_undo_if_all_refuse() -> None:
    story = placed().refuses("create_label", AddressRejected(order_id="o1", reason="no such code")).goes_on()
    story.refuses("charge", PaymentDeclined(order_id="o1", code="x")).goes_on()
    story.fails("reserve", effect="none", retryable=True)

    assert story.emitted(OrderCancelled).step == "create_label"
    story.ends("compensated")


def test_a_payment_whose_effect_is_unknown_is_refunded_by_its_command_id() -> None:
    story = placed().succeeds("reserve", RESERVED).succeeds("create_label", LABEL)
    story.fails("charge", effect="unknown", retryable=True, code="provider-timeout")
    story.undoes("reserve", "charge", "create_label")
    assert story.undo("charge").message == RefundPayment(order_id="o1")
    assert story.undo("charge").envelope.undoes == ("order-fulfilment:o1/charge/1",)
    for step, outcome in (("charge", REFUNDED), ("reserve", RELEASED), ("create_label", LabelVoided(order_id="o1"))):
        story.undone(step, outcome)

    assert story.emitted(OrderCancelled).reason == "failed"
    story.ends("compensated")


def test_a_flaky_payment_is_tried_again_under_new_keys_with_growing_pauses() -> None:
    story = placed()
    for number, pause in enumerate((1, 2, 4, 8), start=1):
        story.fails("charge", effect="none", retryable=True).goes_on()
        story.passes(timedelta(seconds=pause, milliseconds=-1)).goes_on()
        story.passes(timedelta(milliseconds=1)).sends("charge")
        assert story.command("charge").id == f"order-fulfilment:o1/charge/{number + 1}"
        assert story.command("charge").message == story.command("charge", 1).message
    story.fails("charge", effect="none", retryable=True).announces("compensating").goes_on()


def test_a_silent_payment_is_asked_again_and_then_refunded() -> None:
    story = placed().succeeds("reserve", RESERVED).succeeds("create_label", LABEL)
    story.passes(timedelta(seconds=30)).resends("charge")
    story.passes(timedelta(seconds=30)).resends("charge")
    story.silent("charge").undoes("reserve", "charge", "create_label")
    assert story.now_ms == story.process.started_at_ms + 15 * 60 * 1000
    story.late("charge", CAPTURED)  # while its refund is under way
    story.undone("charge", REFUNDED).undoes("charge", covers=(1,))
    assert story.undo("charge").message == RefundPayment(order_id="o1", payment_id="p1")
    story.undone("reserve", RELEASED).undone("create_label", LabelVoided(order_id="o1")).undone("charge", REFUNDED)

    assert story.emitted(OrderCancelled).reason == "silent"
    story.ends("compensated")


def test_a_dispatch_that_takes_longer_than_two_hours_raises_an_alert() -> None:
    story = ready_to_dispatch().silent("dispatch").is_stuck("dispatch", reason="silent")
    story.passes(timedelta(hours=2)).alerts("deadline-after-pivot").is_stuck("dispatch")
    story.late("dispatch", DISPATCHED).announces("resumed", "completed").emitted(OrderFulfilled)
    story.ends("completed")


def test_a_dispatch_that_fails_waits_for_a_person() -> None:
    story = ready_to_dispatch().fails("dispatch", effect="none", retryable=False)
    story.announces("stuck").is_stuck("dispatch", reason="failed")
    story.operator("compensate").ignored("past-pivot")
    story.operator("retry", note="the carrier says it works again").announces("resumed").sends("dispatch")
    story.succeeds("dispatch", DISPATCHED)
    story.emitted(OrderFulfilled)
    story.ends("completed")


def test_the_kit_notices_what_a_story_does_not_tell() -> None:
    story = Story(ORDER_FULFILMENT).starts(ORDER)
    with pytest.raises(Unexpected, match="command charge"):
        story.sends("reserve")
    with pytest.raises(Unexpected, match="Untold"):
        story.succeeds("reserve", RESERVED)
    story.sends("reserve", "charge", "create_label").succeeds("reserve", RESERVED).repeats()
    with pytest.raises(Unexpected, match="duplicate"):
        story.succeeds("charge", CAPTURED)
    with pytest.raises(Unexpected, match="still awaited"):
        story.ignored("duplicate").late("charge", CAPTURED)
    with pytest.raises(Unexpected, match="not completed"):
        story.ends("completed")
    assert isinstance(story.command("charge").message, ChargePayment)
