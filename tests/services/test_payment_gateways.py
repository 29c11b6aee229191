"""What every payment gateway promises (services/payment/gateway.py), over the fake and over HTTP with the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.payment.gateway import Captured, Charge, Declined, PaymentGateway, Refund, Refunded
from services.payment.gateway_http import HttpGateway
from services.payment.gateway_memory import MemoryGateway
from services.sdk import NotDone, Retry, Unknown
from services.sdk.outside.judgement import CallLimits
from services.sdk.outside.provider_http import ProviderHttp, open_client
from tests.services.sandbox_process import Sandbox, free_port

QUICK = CallLimits(connect_s=2.0, answer_s=0.3, total_s=0.8, pauses=Retry(attempts=3, first=0.01))
WAITING = CallLimits(answer_s=10.0, total_s=60.0, pauses=Retry(attempts=20, first=1.0, factor=1.0))
PATIENT = CallLimits(answer_s=10.0, total_s=30.0, pauses=Retry(attempts=5, first=0.01))


@asynccontextmanager
async def http_gateway(url: str, limits: CallLimits = PATIENT) -> AsyncIterator[HttpGateway]:
    async with open_client(f"{url}/payment/", limits) as client:
        yield HttpGateway(ProviderHttp("payment", client, limits))


@pytest.fixture(params=["memory", pytest.param("http", marks=pytest.mark.stack)])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[PaymentGateway]:
    if request.param == "memory":
        yield MemoryGateway()
        return
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    async with http_gateway(sandbox.url) as over_http:
        yield over_http


def charge(order: str, amount_cents: int = 1_250, method: str = "pm_card", currency: str = "EUR") -> Charge:
    return Charge(order, amount_cents, currency, method)


async def test_a_charge_is_captured(gateway: PaymentGateway, order: str) -> None:
    answer = await gateway.charge(charge(order), key=f"{order}/charge/1")

    assert isinstance(answer, Captured)
    assert (answer.amount_cents, answer.currency) == (1_250, "EUR")


async def test_the_same_key_charges_once(gateway: PaymentGateway, order: str) -> None:
    first = await gateway.charge(charge(order), key=f"{order}/charge/1")

    assert await gateway.charge(charge(order), key=f"{order}/charge/1") == first
    assert await gateway.refund(Refund(order), key=f"{order}/undo/1") == Refunded(1_250, "EUR")


async def test_a_card_is_declined(gateway: PaymentGateway, order: str) -> None:
    answer = await gateway.charge(charge(order, method="pm_declined"), key=f"{order}/charge/1")

    assert answer == Declined("insufficient_funds")


async def test_a_refund_covers_charges_by_their_keys(gateway: PaymentGateway, order: str) -> None:
    await gateway.charge(charge(order, 100), key=f"{order}/charge/1")
    await gateway.charge(charge(order, 200), key=f"{order}/charge/2")

    refund = Refund(order, charge_keys=(f"{order}/charge/2", f"{order}/charge/3"))

    assert await gateway.refund(refund, key=f"{order}/undo/1") == Refunded(200, "EUR")


async def test_a_repeated_refund_gets_the_same_answer(gateway: PaymentGateway, order: str) -> None:
    await gateway.charge(charge(order, 100), key=f"{order}/charge/1")
    refund = Refund(order, charge_keys=(f"{order}/charge/1",))
    first = await gateway.refund(refund, key=f"{order}/undo/1")

    assert await gateway.refund(refund, key=f"{order}/undo/1") == first == Refunded(100, "EUR")


async def test_two_undos_of_one_charge_refund_it_once(gateway: PaymentGateway, order: str) -> None:
    await gateway.charge(charge(order, 100), key=f"{order}/charge/1")
    refund = Refund(order, charge_keys=(f"{order}/charge/1",))
    await gateway.refund(refund, key=f"{order}/undo/1")

    second = await gateway.refund(refund, key=f"{order}/undo/2")

    assert second.amount_cents == 0


async def test_a_late_charge_is_refunded_by_the_next_undo(gateway: PaymentGateway, order: str) -> None:
    """Why each undo has its own key: the first undo's answer, `nothing captured`, is stored under its key for ever."""
    refund = Refund(order, charge_keys=(f"{order}/charge/1",))
    assert (await gateway.refund(refund, key=f"{order}/undo/1")).amount_cents == 0
    await gateway.charge(charge(order, 100), key=f"{order}/charge/1")

    assert await gateway.refund(refund, key=f"{order}/undo/2") == Refunded(100, "EUR")


async def test_nothing_captured_is_a_refund_of_nothing_in_the_accounts_currency(
    gateway: PaymentGateway, order: str
) -> None:
    assert await gateway.refund(Refund(order), key=f"{order}/undo/1") == Refunded(0, "USD")


async def test_a_refund_by_payment_id(gateway: PaymentGateway, order: str) -> None:
    await gateway.charge(charge(order, 100), key=f"{order}/charge/1")
    captured = await gateway.charge(charge(order, 200), key=f"{order}/charge/2")
    assert isinstance(captured, Captured)

    refund = Refund(order, payment_id=captured.payment_id)

    assert await gateway.refund(refund, key=f"{order}/undo/1") == Refunded(200, "EUR")


async def test_an_unknown_payment_is_certainly_not_refunded(gateway: PaymentGateway, order: str) -> None:
    with pytest.raises(NotDone) as raised:
        await gateway.refund(Refund(order, payment_id="pay-none"), key=f"{order}/undo/1")

    assert (raised.value.code, raised.value.retryable) == ("unknown_payment", False)


@pytest.mark.stack
async def test_flaky_two_times_unavailable_then_charged(sandbox: Sandbox, order: str) -> None:
    async with http_gateway(sandbox.url) as gateway:
        answer = await gateway.charge(charge(order, method="pm_flaky"), key=f"{order}/charge/1")

    assert isinstance(answer, Captured)
    assert sandbox.kinds(order) == ["charge"]


@pytest.mark.stack
async def test_a_lost_answer_does_not_charge_twice(sandbox: Sandbox, order: str) -> None:
    async with http_gateway(sandbox.url) as gateway:
        answer = await gateway.charge(charge(order, method="pm_lost"), key=f"{order}/charge/1")

    (effect,) = sandbox.ledger(order)
    assert isinstance(answer, Captured)
    assert (effect["kind"], effect["idempotency_key"]) == ("charge", f"{order}/charge/1")
    assert effect["data"]["payment_id"] == answer.payment_id


@pytest.mark.stack
async def test_a_charge_under_way_is_refunded_once_it_is_made(sandbox: Sandbox, order: str) -> None:
    """The provider was slow, we gave up, and now the refund is quicker than the charge (decision 0014)."""
    sandbox.misbehave("payment", latency_ms=4_000)
    async with http_gateway(sandbox.url, QUICK) as gateway:
        with pytest.raises(Unknown):
            await gateway.charge(charge(order), key=f"{order}/charge/1")
        sandbox.behave()
        for refund in (Refund(order, charge_keys=(f"{order}/charge/1",)), Refund(order)):
            with pytest.raises(NotDone) as raised:
                await gateway.refund(refund, key=f"{order}/undo/1")
            assert raised.value.retryable
    async with http_gateway(sandbox.url, WAITING) as gateway:
        refunded = await gateway.refund(Refund(order, charge_keys=(f"{order}/charge/1",)), key=f"{order}/undo/1")

    assert refunded == Refunded(1_250, "EUR")
    assert sandbox.kinds(order) == ["charge", "refund"]


@pytest.mark.stack
async def test_silence_ends_unknown(sandbox: Sandbox, order: str) -> None:
    async with http_gateway(sandbox.url, QUICK) as gateway:
        with pytest.raises(Unknown) as raised:
            await gateway.charge(charge(order, method="pm_silent"), key=f"{order}/charge/1")
        refunded = await gateway.refund(Refund(order, charge_keys=(f"{order}/charge/1",)), key=f"{order}/undo/1")

    assert raised.value.code == "provider-silent"
    assert refunded.amount_cents == 0
    assert sandbox.kinds(order) == []


@pytest.mark.stack
async def test_an_unavailable_provider_certainly_did_nothing(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("payment", error_rate=1.0)

    async with http_gateway(sandbox.url, QUICK) as gateway:
        with pytest.raises(NotDone) as raised:
            await gateway.charge(charge(order), key=f"{order}/charge/1")

    assert (raised.value.code, raised.value.retryable) == ("provider-unavailable", True)
    assert sandbox.kinds(order) == []


@pytest.mark.stack
async def test_a_provider_that_is_not_there_certainly_did_nothing(order: str) -> None:
    async with http_gateway(f"http://127.0.0.1:{free_port()}", QUICK) as gateway:
        with pytest.raises(NotDone) as raised:
            await gateway.charge(charge(order), key=f"{order}/charge/1")

    assert raised.value.retryable


@pytest.mark.stack
async def test_answers_lost_every_time_end_unknown_and_the_undo_finds_the_charge(sandbox: Sandbox, order: str) -> None:
    """The stored answer comes with the repeat; the fault breaks only requests that do something."""
    sandbox.misbehave("payment", lose_answer=True)

    async with http_gateway(sandbox.url) as gateway:
        with suppress(Unknown):
            await gateway.charge(charge(order, 300), key=f"{order}/charge/1")
        sandbox.behave()
        refunded = await gateway.refund(Refund(order, charge_keys=(f"{order}/charge/1",)), key=f"{order}/undo/1")

    assert refunded == Refunded(300, "EUR")
    assert sandbox.kinds(order) == ["charge", "refund"]


@pytest.mark.stack
async def test_a_reused_key_is_unknown(sandbox: Sandbox, order: str) -> None:
    async with http_gateway(sandbox.url) as gateway:
        await gateway.charge(charge(order, 100), key=f"{order}/charge/1")
        with pytest.raises(Unknown, match="idempotency_key_reused"):
            await gateway.charge(charge(order, 200), key=f"{order}/charge/1")


@pytest.mark.stack
async def test_a_key_that_no_header_can_carry_is_hashed_for_charge_and_refund_alike(
    sandbox: Sandbox, order: str
) -> None:
    key = f"{order}/Zahlung-für-Ülo/{'x' * 300}"
    async with http_gateway(sandbox.url) as gateway:
        await gateway.charge(charge(order, 100), key=key)
        refunded = await gateway.refund(Refund(order, charge_keys=(key,)), key=f"{order}/undo/1")

    assert refunded == Refunded(100, "EUR")


@pytest.mark.stack
async def test_both_amounts_are_in_the_ledger_to_the_cent(sandbox: Sandbox, order: str) -> None:
    async with http_gateway(sandbox.url) as gateway:
        await gateway.charge(charge(order, 12_345), key=f"{order}/charge/1")
        await gateway.refund(Refund(order, charge_keys=(f"{order}/charge/1",)), key=f"{order}/undo/1")

    assert [effect["data"]["amount_cents"] for effect in sandbox.ledger(order)] == [12_345, 12_345]
