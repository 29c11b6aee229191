"""The services in the real middleware: killed at any point and delivered again, each command has one effect and one
answer; and what a failure at a provider makes of the answer."""

from __future__ import annotations

import pytest

from contracts.inventory import ReleaseStock, ReserveStock, StockLine
from contracts.message import Message
from contracts.orders import Address
from contracts.payment import ChargePayment, PaymentCaptured, PaymentRefunded, RefundPayment
from contracts.shipping import CreateLabel, DispatchOrder, LabelCreated, OrderDispatched
from contracts.technical import CommandFailed
from services.inventory import handlers as inventory
from services.inventory.opening import open_local
from services.inventory.stock import Level
from services.inventory.store_memory import MemoryStock
from services.payment import handlers as payment
from services.payment.gateway_memory import MemoryGateway
from services.sdk.surroundings import system_surroundings
from services.sdk.testing import CrashPoint, Harness, Published
from services.shipping import handlers as shipping
from services.shipping.carrier_memory import MemoryCarrier

PROCESS = "order-fulfilment:o1"
RESERVE = ReserveStock(
    order_id="o1", lines=(StockLine(sku="milk", quantity=2), StockLine(sku="scarce-tea", quantity=1))
)
CHARGE = ChargePayment(order_id="o1", amount_cents=100, currency="EUR", payment_method="pm_card")
BERLIN = Address(name="Ada", street="Street 1", city="Berlin", postal_code="10115", country="DE")
LABEL = CreateLabel(order_id="o1", ship_to=BERLIN, lines=(StockLine(sku="milk", quantity=2),))

everywhere = pytest.mark.parametrize("point", list(CrashPoint))


async def deliver_through_crash(
    harness: Harness, point: CrashPoint | None, command: Message, command_id: str, undoes: tuple[str, ...] = ()
) -> dict[str, Message | None]:
    """What was published, by id: a repeat brings the same ids with the same content, or this fails."""
    harness.crash_at = point
    published = await harness.deliver(command, id=command_id, process_id=PROCESS, undoes=undoes)
    if point is not None:
        published += await harness.restart()
    return distinct(published)


def distinct(published: list[Published]) -> dict[str, Message | None]:
    found: dict[str, Message | None] = {}
    for one in published:
        assert found.setdefault(one.envelope.id, one.message) == one.message
    return found


async def stock_levels(stock: MemoryStock) -> set[Level]:
    return {level async for level in stock.levels()}


async def inventory_story(point: CrashPoint | None) -> tuple[list[str], set[Level]]:
    stock = MemoryStock(open_local)
    async with Harness(inventory.service, [stock, system_surroundings()]) as harness:
        dispatched = OrderDispatched.model_validate(
            {"order_id": "o2", "tracking_number": "t", "dispatched_at": "2026-01-01T00:00:00Z"}
        )
        ids = [
            *await deliver_through_crash(harness, point, RESERVE, f"{PROCESS}/reserve/1"),
            *await deliver_through_crash(
                harness, point, ReleaseStock(order_id="o1"), f"{PROCESS}/reserve/undo/1", (f"{PROCESS}/reserve/1",)
            ),
            *await deliver_through_crash(harness, point, RESERVE.model_copy(update={"order_id": "o2"}), "p2/reserve/1"),
            *await deliver_through_crash(harness, point, dispatched, "event-1"),
        ]
    return ids, await stock_levels(stock)


@everywhere
async def test_stock_moves_once_wherever_the_service_dies(point: CrashPoint) -> None:
    assert await inventory_story(point) == await inventory_story(None)


@everywhere
async def test_a_charge_and_its_refund_happen_once_wherever_the_service_dies(point: CrashPoint) -> None:
    gateway = MemoryGateway()
    async with Harness(payment.service, [gateway]) as harness:
        charged = await deliver_through_crash(harness, point, CHARGE, f"{PROCESS}/charge/1")
        balance_cents = gateway.balance_cents("o1")
        refunded = await deliver_through_crash(
            harness, point, RefundPayment(order_id="o1"), f"{PROCESS}/charge/undo/1", (f"{PROCESS}/charge/1",)
        )

    assert [type(message) for message in charged.values()] == [PaymentCaptured]
    assert balance_cents == 100
    assert list(refunded.values()) == [PaymentRefunded(order_id="o1", amount_cents=100, currency="EUR")]
    assert gateway.balance_cents("o1") == 0


@everywhere
async def test_a_parcel_is_picked_up_once_wherever_the_service_dies(point: CrashPoint) -> None:
    carrier = MemoryCarrier(system_surroundings().now_ms)
    async with Harness(shipping.service, [carrier]) as harness:
        (made,) = (await deliver_through_crash(harness, point, LABEL, f"{PROCESS}/create_label/1")).values()
        assert isinstance(made, LabelCreated)
        dispatch = DispatchOrder(order_id="o1", label_id=made.label_id)
        (gone,) = (await deliver_through_crash(harness, point, dispatch, f"{PROCESS}/dispatch/1")).values()

    assert isinstance(gone, OrderDispatched)
    assert carrier.pick_ups == 1


async def answer_of(harness: Harness, command: Message, command_id: str) -> Message | None:
    (one,) = await harness.deliver(command, id=command_id, process_id=PROCESS)
    return one.message


async def test_an_unavailable_provider_is_a_failure_without_effect_worth_a_new_try() -> None:
    gateway = MemoryGateway()
    gateway.misbehave.append("unavailable")
    async with Harness(payment.service, [gateway]) as harness:
        first = await answer_of(harness, CHARGE, f"{PROCESS}/charge/1")
        second = await answer_of(harness, CHARGE, f"{PROCESS}/charge/2")

    assert isinstance(first, CommandFailed)
    assert (first.code, first.effect, first.retryable) == ("provider-unavailable", "none", True)
    assert isinstance(second, PaymentCaptured)


async def test_unavailable_after_an_execution_of_unknown_end_is_a_failure_of_unknown_effect() -> None:
    """The first execution charged and died before it could say so; "unavailable" now proves nothing about then."""
    gateway = MemoryGateway()
    async with Harness(payment.service, [gateway]) as harness:
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(CHARGE, id=f"{PROCESS}/charge/1", process_id=PROCESS)
        gateway.misbehave.append("unavailable")
        (answer,) = await harness.restart()

    assert isinstance(answer.message, CommandFailed)
    assert (answer.message.effect, answer.message.retryable) == ("unknown", False)


@pytest.mark.parametrize("fault", ["lost", "silent"])
async def test_silence_is_a_failure_of_unknown_effect_and_its_undo_gives_back_what_there_was(fault: str) -> None:
    gateway = MemoryGateway()
    gateway.misbehave.append(fault)  # type: ignore[arg-type]
    async with Harness(payment.service, [gateway]) as harness:
        answer = await answer_of(harness, CHARGE, f"{PROCESS}/charge/1")
        (undone,) = await harness.deliver(
            RefundPayment(order_id="o1"),
            id=f"{PROCESS}/charge/undo/1",
            process_id=PROCESS,
            undoes=(f"{PROCESS}/charge/1",),
        )

    assert isinstance(answer, CommandFailed)
    assert (answer.code, answer.effect) == ("provider-silent", "unknown")
    assert isinstance(undone.message, PaymentRefunded)
    assert undone.message.amount_cents == (100 if fault == "lost" else 0)
    assert gateway.balance_cents("o1") == 0


async def test_a_command_that_comes_after_its_undo_does_nothing() -> None:
    stock = MemoryStock(open_local)
    async with Harness(inventory.service, [stock, system_surroundings()]) as harness:
        await harness.deliver(ReleaseStock(order_id="o1"), id="p/reserve/undo/1", undoes=("p/reserve/1",))
        answer = await answer_of(harness, RESERVE, "p/reserve/1")

    assert isinstance(answer, CommandFailed)
    assert (answer.effect, answer.retryable) == ("none", False)
    assert await stock_levels(stock) == set()
