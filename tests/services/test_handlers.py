"""Given what happened before, when a message comes, then these messages go out: the three services' handlers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.inventory import ReleaseStock, ReserveStock, StockChanged, StockLine, StockReserved, StockUnavailable
from contracts.orders import Address
from contracts.payment import ChargePayment, PaymentCaptured, PaymentDeclined, PaymentRefunded, RefundPayment
from contracts.shipping import (
    AddressRejected,
    CreateLabel,
    DispatchOrder,
    LabelCreated,
    LabelVoided,
    OrderDispatched,
    VoidLabel,
)
from services.inventory import handlers as inventory
from services.inventory.opening import open_local, open_nothing
from services.inventory.store_memory import MemoryStock
from services.payment import handlers as payment
from services.payment.gateway import Refund
from services.payment.gateway_memory import MemoryGateway
from services.sdk import Delivery, NotDone, Unknown
from services.sdk.surroundings import Surroundings, system_surroundings
from services.shipping import handlers as shipping
from services.shipping.carrier import Void
from services.shipping.carrier_memory import MemoryCarrier

AT = 1_700_000_000_123
BERLIN = Address(name="Ada", street="Street 1", city="Berlin", postal_code="10115", country="DE")


def delivery(key: str, *undoes: str) -> Delivery:
    return Delivery(
        id=key,
        source="/counterpoint/orchestrator",
        type="",
        idempotency_key=key,
        process_id="order-fulfilment:o1",
        undoes=undoes,
        try_number=1,
        deadline=None,
        topic="",
        partition=0,
        offset=0,
        attempt=1,
        unfinished=False,
        received_at_ms=AT,
    )


class FixedClock:
    def __init__(self) -> None:
        self.now_ms = AT
        real = system_surroundings()
        self.around = Surroundings(
            lambda: self.now_ms, real.monotonic_s, real.sleep, random=lambda: 0.5, token=real.token
        )


class Inventory:
    def __init__(self, opening: Any = open_local) -> None:
        self.stock, self.clock = MemoryStock(opening), FixedClock()

    async def reserve(self, key: str, *lines: tuple[str, int], order: str = "o1") -> Any:
        wanted = tuple(StockLine(sku=sku, quantity=quantity) for sku, quantity in lines)
        command = ReserveStock(order_id=order, lines=wanted)
        return await inventory.reserve(command, self.stock, self.clock.around, delivery(key))

    async def release(self, key: str, *undoes: str, reservation_id: str | None = None) -> Any:
        command = ReleaseStock(order_id="o1", reservation_id=reservation_id)
        return await inventory.release(command, self.stock, self.clock.around, delivery(key, *undoes))

    async def dispatched(self, key: str) -> Any:
        event = OrderDispatched(order_id="o1", tracking_number="t", dispatched_at=datetime(2026, 1, 1, tzinfo=UTC))
        return await inventory.dispatched(event, self.stock, self.clock.around, delivery(key))


def changed(sku: str, on_hand: int, reserved: int, revision: int, warehouse: str = "east") -> StockChanged:
    at = datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    return StockChanged(
        sku=sku, warehouse=warehouse, on_hand=on_hand, reserved=reserved, revision=revision, changed_at=at
    )


async def test_reserve_answers_and_announces_every_change() -> None:
    answer, *events = await Inventory().reserve("charge/1", ("scarce-tea", 2))

    assert isinstance(answer, StockReserved)
    assert [(line.sku, line.quantity, line.warehouse) for line in answer.lines] == [("scarce-tea", 2, "east")]
    assert events == [changed("scarce-tea", 5, 0, 1), changed("scarce-tea", 3, 2, 2)]


async def test_lines_of_one_sku_are_summed() -> None:
    given = Inventory()

    answer, *_ = await given.reserve("reserve/1", ("scarce-tea", 3), ("scarce-jam", 1), ("scarce-tea", 3))

    assert isinstance(answer, StockUnavailable)
    assert [(one.sku, one.wanted, one.available) for one in answer.missing] == [("scarce-tea", 6, 5)]


async def test_a_repeat_gives_the_same_messages_although_time_went_on() -> None:
    given = Inventory()
    first = await given.reserve("reserve/1", ("milk", 2), ("scarce-tea", 1))
    given.clock.now_ms += 5_000

    assert await given.reserve("reserve/1", ("milk", 2), ("scarce-tea", 1)) == first


async def test_in_production_an_unknown_sku_has_none() -> None:
    answer, *events = await Inventory(open_nothing).reserve("reserve/1", ("milk", 1))

    assert isinstance(answer, StockUnavailable)
    assert events == []


async def test_a_sum_that_no_answer_can_carry_is_certainly_not_done() -> None:
    given = Inventory()

    with pytest.raises(NotDone, match="quantity-too-large"):
        await given.reserve("reserve/1", ("milk", 10**9), ("milk", 1))


async def test_an_undo_releases_what_the_covered_command_reserved_whatever_the_payload_names() -> None:
    given = Inventory()
    await given.reserve("reserve/1", ("scarce-tea", 1))
    settled, *_ = await given.reserve("reserve/2", ("scarce-tea", 2))

    answer, *events = await given.release("undo/1", "reserve/1", reservation_id=settled.reservation_id)

    assert [(line.sku, line.quantity) for line in answer.lines] == [("scarce-tea", 1)]
    assert events == [changed("scarce-tea", 3, 2, 4)]


async def test_a_release_without_covered_ids_goes_by_the_reservation_or_the_order() -> None:
    given = Inventory()
    first, *_ = await given.reserve("reserve/1", ("scarce-tea", 1))
    await given.reserve("reserve/2", ("scarce-tea", 2))

    by_name, *_ = await given.release("undo/1", reservation_id=first.reservation_id)
    whole, *_ = await given.release("undo/2")

    assert [line.quantity for line in (*by_name.lines, *whole.lines)] == [1, 2]


async def test_a_reserve_after_its_undo_is_certainly_not_done() -> None:
    given = Inventory()
    answer, *events = await given.release("undo/1", "reserve/1")

    with pytest.raises(NotDone) as raised:
        await given.reserve("reserve/1", ("scarce-tea", 1))

    assert (answer.lines, events) == ((), [])
    assert (raised.value.code, raised.value.retryable) == ("revoked", False)


async def test_dispatched_goods_leave_and_a_later_undo_brings_nothing_back() -> None:
    given = Inventory()
    await given.reserve("reserve/1", ("scarce-tea", 2))

    assert await given.dispatched("event-1") == (changed("scarce-tea", 3, 0, 3),)
    released, *events = await given.release("undo/1", "reserve/1")

    assert (released.lines, events) == ((), [])


async def test_dispatch_of_a_stranger_is_nothing() -> None:
    assert await Inventory().dispatched("event-1") == ()


def charge(method: str = "pm_card") -> ChargePayment:
    return ChargePayment(order_id="o1", amount_cents=100, currency="EUR", payment_method=method)


async def test_charge_captures_or_is_declined() -> None:
    gateway = MemoryGateway()

    captured = await payment.charge(charge(), gateway, delivery("charge/1"))
    declined = await payment.charge(charge("pm_declined"), gateway, delivery("charge/2"))

    assert isinstance(captured, PaymentCaptured)
    assert (captured.amount_cents, captured.currency) == (100, "EUR")
    assert declined == PaymentDeclined(order_id="o1", code="insufficient_funds")


async def test_a_charge_whose_answer_was_lost_is_repeated_under_its_key() -> None:
    gateway = MemoryGateway()
    gateway.misbehave.append("lost")
    with pytest.raises(Unknown):
        await payment.charge(charge(), gateway, delivery("charge/1"))

    await payment.charge(charge(), gateway, delivery("charge/1"))

    assert gateway.balance_cents("o1") == 100


async def test_a_refund_undoes_the_covered_charge_and_says_when_there_was_none() -> None:
    gateway = MemoryGateway()
    await payment.charge(charge(), gateway, delivery("charge/1"))
    command = RefundPayment(order_id="o1")

    first = await payment.refund(command, gateway, delivery("undo/1", "charge/1"))
    second = await payment.refund(command, gateway, delivery("undo/2", "charge/1"))

    assert first == PaymentRefunded(order_id="o1", amount_cents=100, currency="EUR")
    assert second.amount_cents == 0
    assert gateway.balance_cents("o1") == 0


@pytest.mark.parametrize(
    ("payment_id", "undoes", "covered"),
    [
        ("pay-2", ("charge/1",), Refund("o1", charge_keys=("charge/1",))),
        (None, ("charge/1", "charge/2"), Refund("o1", charge_keys=("charge/1", "charge/2"))),
        ("pay-2", (), Refund("o1", payment_id="pay-2")),
        (None, (), Refund("o1")),
    ],
)
def test_what_a_refund_covers(payment_id: str | None, undoes: tuple[str, ...], covered: Refund) -> None:
    assert payment.refund_of(RefundPayment(order_id="o1", payment_id=payment_id), undoes) == covered


@pytest.mark.parametrize(
    ("label_id", "undoes", "covered"),
    [
        ("lbl-2", ("label/1",), Void("o1", label_keys=("label/1",))),
        ("lbl-2", (), Void("o1", label_id="lbl-2")),
        (None, (), Void("o1")),
    ],
)
def test_what_a_void_covers(label_id: str | None, undoes: tuple[str, ...], covered: Void) -> None:
    assert shipping.void_of(VoidLabel(order_id="o1", label_id=label_id), undoes) == covered


def label(postal_code: str = "10115") -> CreateLabel:
    ship_to = BERLIN.model_copy(update={"postal_code": postal_code})
    return CreateLabel(order_id="o1", ship_to=ship_to, lines=(StockLine(sku="tea", quantity=1),))


async def test_a_label_is_made_dispatched_once_and_then_not_voided() -> None:
    carrier = MemoryCarrier(lambda: AT)
    made = await shipping.create_label(label(), carrier, delivery("create_label/1"))
    assert isinstance(made, LabelCreated)
    command = DispatchOrder(order_id="o1", label_id=made.label_id)

    first = await shipping.dispatch(command, carrier, delivery("dispatch/1"))
    retried_by_an_operator = await shipping.dispatch(command, carrier, delivery("dispatch/2"))

    assert first == retried_by_an_operator
    assert first.dispatched_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert carrier.pick_ups == 1
    with pytest.raises(NotDone, match="label_dispatched"):
        await shipping.void_label(VoidLabel(order_id="o1"), carrier, delivery("undo/1", "create_label/1"))


async def test_a_rejected_address_is_a_refusal() -> None:
    answer = await shipping.create_label(label("00000"), MemoryCarrier(lambda: AT), delivery("create_label/1"))

    assert answer == AddressRejected(order_id="o1", reason="address_rejected")


async def test_a_void_without_a_label_is_a_success() -> None:
    answer = await shipping.void_label(
        VoidLabel(order_id="o1"), MemoryCarrier(lambda: AT), delivery("undo/1", "create_label/1")
    )

    assert answer == LabelVoided(order_id="o1")
