"""The stories of the test kit: they pass for what is right, and find each kind of wrong handler."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from contracts.payment import ChargePayment, PaymentDeclined
from services.payment.gateway_memory import MemoryGateway
from services.payment.handlers import service as payment
from services.sdk import Delivery, NotDone, Service
from services.sdk.handler import Unfinished
from services.sdk.reasons import Reason
from services.sdk.stories import given
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged

CHARGE = ChargePayment(order_id="o1", amount_cents=500, currency="USD", payment_method="pm_card")


@dataclass
class Book:
    entries: list[str] = field(default_factory=list)


def booking(unfinished: Unfinished, *, honours_keys: bool) -> Service:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    def note(book: Book, delivery: Delivery) -> None:
        if not honours_keys or delivery.idempotency_key not in book.entries:
            book.entries.append(delivery.idempotency_key)

    @service.handles(Ping, unfinished=unfinished)
    async def ping(command: Ping, book: Book, delivery: Delivery) -> Pinged:
        if command.text == "refuse":
            raise NotDone("closed", "come tomorrow")
        note(book, delivery)
        return Pinged(name=command.name)

    @service.handles(Noticed, unfinished=unfinished)
    async def hear(event: Noticed, book: Book, delivery: Delivery) -> Heard:
        if event.name == "bad":
            raise RuntimeError("a bug")
        note(book, delivery)
        return Heard(name=event.name)

    return service


def booked(book: Book) -> int:
    return len(book.entries)


async def test_a_charge_is_captured_once_whatever_happens() -> None:
    story = given(CHARGE, process_id="order-fulfilment:o1").when(payment, lambda: [MemoryGateway()])
    with pytest.raises(AssertionError, match="as it is: published"):
        await story.then(PaymentDeclined(order_id="o1", code="insufficient_funds"))
    declined = CHARGE.model_copy(update={"payment_method": "pm_declined"})
    await (
        given(declined)
        .when(payment, lambda: [MemoryGateway()])
        .then(PaymentDeclined(order_id="o1", code="insufficient_funds"))
    )


async def test_a_handler_that_honours_keys_is_right_in_every_world() -> None:
    service = booking("repeat", honours_keys=True)
    await given(Ping(name="a")).when(service, lambda: [Book()]).then(Pinged(name="a"), effects=booked)
    await given(Noticed(name="a")).when(service, lambda: [Book()]).then(Heard(name="a"), effects=booked)


async def test_a_handler_that_repeats_its_effect_is_found() -> None:
    story = given(Ping(name="a")).when(booking("repeat", honours_keys=False), lambda: [Book()])
    with pytest.raises(AssertionError, match="after-effect: 2 was done, not 1"):
        await story.then(Pinged(name="a"), effects=booked)


async def test_a_handler_that_may_not_be_repeated_says_that_it_does_not_know() -> None:
    service = booking("unknown", honours_keys=False)
    for message, answer in ((Ping(name="a"), Pinged(name="a")), (Noticed(name="a"), Heard(name="a"))):
        await given(message).when(service, lambda: [Book()]).then(answer, effects=booked)


async def test_an_answer_that_differs_from_time_to_time_is_found() -> None:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)
    numbers = iter(range(100))

    @service.handles(Ping, unfinished="repeat")
    async def ping(command: Ping) -> Pinged:
        return Pinged(name=command.name, count=next(numbers))

    with pytest.raises(AssertionError, match="published"):
        await given(Ping(name="a")).when(service).then(Pinged(name="a", count=0))


async def test_failures_and_dead_letters() -> None:
    service = booking("repeat", honours_keys=True)
    await given(Ping(name="a", text="refuse")).when(service, lambda: [Book()]).then_fails("closed")
    await given(Noticed(name="bad")).when(service, lambda: [Book()]).then_dead_letter(Reason.HANDLER_FAILED)
    late = given(Ping(name="a"), deadline="2025-12-31T00:00:00Z").when(service, lambda: [Book()])
    await late.then_fails("deadline-exceeded")
    with pytest.raises(AssertionError, match="instead of"):
        await given(Ping(name="a")).when(service, lambda: [Book()]).then_fails("closed")
    with pytest.raises(AssertionError, match="instead of one dead letter"):
        await given(Noticed(name="a")).when(service, lambda: [Book()]).then_dead_letter(Reason.HANDLER_FAILED)


async def test_what_came_before_is_part_of_the_world() -> None:
    service = booking("repeat", honours_keys=True)
    story = given(Noticed(name="first"), Ping(name="a")).when(service, lambda: [Book()])
    await story.then(Pinged(name="a"), effects=lambda book: book.entries[0].endswith("test-1"))


def test_a_story_needs_a_message_and_a_handler() -> None:
    with pytest.raises(ValueError, match="begins with a message"):
        given()
    with pytest.raises(LookupError, match="sample does not handle"):
        given(CHARGE).when(booking("repeat", honours_keys=True))
