"""What every carrier promises (services/shipping/carrier.py), over the fake and over HTTP with the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC

import pytest

from services.sdk import NotDone, Retry, Unknown
from services.sdk.outside.judgement import CallLimits
from services.sdk.outside.provider_http import ProviderHttp, open_client
from services.shipping.carrier import Carrier, Label, Parcel, Recipient, Rejected, Void
from services.shipping.carrier_http import HttpCarrier
from services.shipping.carrier_memory import MemoryCarrier
from tests.services.sandbox_process import Sandbox

QUICK = CallLimits(answer_s=0.3, total_s=0.8, pauses=Retry(attempts=3, first=0.01))
WAITING = CallLimits(answer_s=10.0, total_s=60.0, pauses=Retry(attempts=20, first=1.0, factor=1.0))
PATIENT = CallLimits(answer_s=10.0, total_s=30.0, pauses=Retry(attempts=5, first=0.01))


@asynccontextmanager
async def http_carrier(url: str, limits: CallLimits = PATIENT) -> AsyncIterator[HttpCarrier]:
    async with open_client(f"{url}/carrier/", limits) as client:
        yield HttpCarrier(ProviderHttp("carrier", client, limits))


@pytest.fixture(params=["memory", pytest.param("http", marks=pytest.mark.stack)])
async def carrier(request: pytest.FixtureRequest) -> AsyncIterator[Carrier]:
    if request.param == "memory":
        yield MemoryCarrier(lambda: 1_700_000_000_000)
        return
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    async with http_carrier(sandbox.url) as over_http:
        yield over_http


def parcel(order: str, postal_code: str = "10115") -> Parcel:
    return Parcel(order, Recipient("Ada", "Street 1", "Berlin", postal_code, "DE"), (("milk", 2), ("tea", 1)))


async def made(carrier: Carrier, order: str, attempt: int = 1) -> Label:
    label = await carrier.create_label(parcel(order), key=f"{order}/create_label/{attempt}")
    assert isinstance(label, Label)
    return label


async def test_the_same_key_makes_one_label(carrier: Carrier, order: str) -> None:
    assert await made(carrier, order) == await made(carrier, order)


async def test_an_address_is_rejected(carrier: Carrier, order: str) -> None:
    answer = await carrier.create_label(parcel(order, "00000"), key=f"{order}/create_label/1")

    assert answer == Rejected("address_rejected")


async def test_a_void_covers_labels_by_their_keys(carrier: Carrier, order: str) -> None:
    first, _second = await made(carrier, order, 1), await made(carrier, order, 2)
    keys = (f"{order}/create_label/1", f"{order}/create_label/9")

    voided = await carrier.void_label(Void(order, label_keys=keys), key=f"{order}/undo/1")

    assert voided.label_id == first.label_id


async def test_a_second_void_finds_nothing_left(carrier: Carrier, order: str) -> None:
    await made(carrier, order)
    void = Void(order, label_keys=(f"{order}/create_label/1",))
    first = await carrier.void_label(void, key=f"{order}/undo/1")

    assert await carrier.void_label(void, key=f"{order}/undo/1") == first
    assert (await carrier.void_label(void, key=f"{order}/undo/2")).label_id is None


async def test_a_late_label_is_voided_by_the_next_undo(carrier: Carrier, order: str) -> None:
    void = Void(order, label_keys=(f"{order}/create_label/1",))
    assert (await carrier.void_label(void, key=f"{order}/undo/1")).label_id is None
    label = await made(carrier, order)

    assert (await carrier.void_label(void, key=f"{order}/undo/2")).label_id == label.label_id


async def test_a_void_by_label_id_and_one_of_the_whole_order(carrier: Carrier, order: str) -> None:
    first, second = await made(carrier, order, 1), await made(carrier, order, 2)

    by_id = await carrier.void_label(Void(order, label_id=second.label_id), key=f"{order}/undo/1")
    whole = await carrier.void_label(Void(order), key=f"{order}/undo/2")

    assert (by_id.label_id, whole.label_id) == (second.label_id, first.label_id)


async def test_an_unknown_label_is_certainly_not_voided(carrier: Carrier, order: str) -> None:
    with pytest.raises(NotDone) as raised:
        await carrier.void_label(Void(order, label_id="lbl-none"), key=f"{order}/undo/1")

    assert (raised.value.code, raised.value.retryable) == ("unknown_label", False)


async def test_a_dispatch_says_what_and_when(carrier: Carrier, order: str) -> None:
    label = await made(carrier, order)

    dispatched = await carrier.dispatch(order, label.label_id, key=f"{order}/d")

    assert dispatched.tracking_number == label.tracking_number
    assert dispatched.dispatched_at.tzinfo == UTC
    assert await carrier.dispatch(order, label.label_id, key=f"{order}/d") == dispatched


async def test_a_dispatched_label_is_not_voided(carrier: Carrier, order: str) -> None:
    label = await made(carrier, order)
    await carrier.dispatch(order, label.label_id, key=f"{order}/d")

    with pytest.raises(NotDone, match="label_dispatched"):
        await carrier.void_label(Void(order), key=f"{order}/undo/1")


async def test_a_void_label_is_not_dispatched(carrier: Carrier, order: str) -> None:
    label = await made(carrier, order)
    await carrier.void_label(Void(order), key=f"{order}/undo/1")

    with pytest.raises(NotDone, match="label_voided"):
        await carrier.dispatch(order, label.label_id, key=f"{order}/d")


@pytest.mark.stack
async def test_a_label_under_way_is_voided_once_it_is_made(sandbox: Sandbox, order: str) -> None:
    """The carrier was slow, we gave up, and now the void is quicker than the label (decision 0014)."""
    sandbox.misbehave("carrier", latency_ms=4_000)
    async with http_carrier(sandbox.url, QUICK) as carrier:
        with pytest.raises(Unknown):
            await made(carrier, order)
        sandbox.behave()
        for void in (Void(order, label_keys=(f"{order}/create_label/1",)), Void(order)):
            with pytest.raises(NotDone) as raised:
                await carrier.void_label(void, key=f"{order}/undo/1")
            assert raised.value.retryable
    async with http_carrier(sandbox.url, WAITING) as carrier:
        await carrier.void_label(Void(order, label_keys=(f"{order}/create_label/1",)), key=f"{order}/undo/1")

    assert sandbox.kinds(order) == ["label", "void"]


@pytest.mark.stack
async def test_an_answer_lost_after_the_label_makes_no_second_one(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("carrier", lose_answer=True)
    async with http_carrier(sandbox.url, QUICK) as carrier:
        try:
            await made(carrier, order)
        except Unknown:
            sandbox.behave()
            await made(carrier, order)

    assert sandbox.kinds(order) == ["label"]


@pytest.mark.stack
async def test_a_silent_carrier_ends_unknown(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("carrier", silent=True)

    async with http_carrier(sandbox.url, QUICK) as carrier:
        with pytest.raises(Unknown):
            await made(carrier, order)

    assert sandbox.kinds(order) == []
