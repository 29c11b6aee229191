"""Invoicing: one invoice a deal, whatever happens between broker, automation and the accounting system."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from contracts.deals import DealClosed
from contracts.invoicing import InvoiceCreated
from services.invoicing import handlers as invoicing
from services.invoicing.accounting import Accounting, Invoice
from services.invoicing.accounting_http import HttpAccounting
from services.invoicing.accounting_memory import MemoryAccounting
from services.sdk import NotDone, Retry, Unknown
from services.sdk.outside.judgement import CallLimits
from services.sdk.outside.provider_http import ProviderHttp, open_client
from services.sdk.reasons import Reason
from services.sdk.stories import given
from services.sdk.testing import Harness
from tests.services.sandbox_process import Sandbox

QUICK = CallLimits(answer_s=0.3, total_s=0.8, pauses=Retry(attempts=3, first=0.01))
PATIENT = CallLimits(answer_s=10.0, total_s=30.0, pauses=Retry(attempts=5, first=0.01))
DEAL = DealClosed(
    deal_id="d1", customer_id="c1", amount_cents=120_000, currency="EUR", closed_at=datetime(2026, 1, 1, tzinfo=UTC)
)


async def test_an_invoice_is_created_once_wherever_it_dies() -> None:
    story = given(DEAL).when(invoicing.service, lambda: [MemoryAccounting()])
    await story.then(
        InvoiceCreated(deal_id="d1", invoice_id="inv-invoicing/d1"), effects=lambda books: dict(books.invoices)
    )


async def test_a_row_that_is_written_again_is_not_billed_again() -> None:
    books = MemoryAccounting()
    async with Harness(invoicing.service, [books]) as harness:
        for number in range(3):
            await harness.deliver(DEAL, id=f"change-{number}")

    assert list(books.invoices.values()) == [Invoice("d1", "c1", 120_000, "EUR")]


async def test_a_deal_that_is_closed_again_with_another_amount_is_for_a_person() -> None:
    books = MemoryAccounting()
    async with Harness(invoicing.service, [books]) as harness:
        await harness.deliver(DEAL)
        (letter,) = await harness.deliver(DEAL.model_copy(update={"amount_cents": 1}))

    headers = dict(letter.record.headers)
    assert headers["dl_reason"] == Reason.HANDLER_FAILED.encode()
    assert b"another content" in headers["dl_detail"]
    assert harness.clock.slept_s == []


@pytest.mark.parametrize("fault", ["lost", "silent", "unavailable"])
async def test_an_accounting_system_that_fails_once_is_asked_again_with_the_same_key(fault: str) -> None:
    books = MemoryAccounting()
    books.misbehave.append(fault)  # type: ignore[arg-type]
    async with Harness(invoicing.service, [books]) as harness:
        (created,) = await harness.deliver(DEAL)

    assert isinstance(created.message, InvoiceCreated)
    assert len(books.invoices) == 1


async def test_one_that_stays_away_is_given_up_and_a_replay_bills() -> None:
    books = MemoryAccounting()
    books.misbehave.extend(["unavailable"] * invoicing.PATIENCE.attempts)
    async with Harness(invoicing.service, [books]) as harness:
        (letter,) = await harness.deliver(DEAL)
        assert books.invoices == {}
        (created,) = await harness.replay(letter)

    assert isinstance(created.message, InvoiceCreated)
    assert sum(harness.clock.slept_s) > 480


@asynccontextmanager
async def http_accounting(url: str, limits: CallLimits = PATIENT) -> AsyncIterator[Accounting]:
    async with open_client(f"{url}/accounting/", limits) as client:
        yield HttpAccounting(ProviderHttp("the accounting system", client, limits))


@pytest.fixture(params=["memory", pytest.param("http", marks=pytest.mark.stack)])
async def accounting(request: pytest.FixtureRequest) -> AsyncIterator[Accounting]:
    if request.param == "memory":
        yield MemoryAccounting()
        return
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    async with http_accounting(sandbox.url) as over_http:
        yield over_http


async def test_one_key_makes_one_invoice(accounting: Accounting, order: str) -> None:
    invoice = Invoice(order, "c1", 100, "EUR")
    first = await accounting.create_invoice(invoice, key=f"{order}/1")
    assert await accounting.create_invoice(invoice, key=f"{order}/1") == first
    assert await accounting.create_invoice(invoice, key=f"{order}/2") != first


async def test_the_key_of_another_amount_is_refused_for_good(accounting: Accounting, order: str) -> None:
    await accounting.create_invoice(Invoice(order, "c1", 100, "EUR"), key=order)
    with pytest.raises(NotDone) as raised:
        await accounting.create_invoice(Invoice(order, "c1", 101, "EUR"), key=order)
    assert (raised.value.code, raised.value.retryable) == ("idempotency_key_reused", False)


@pytest.mark.stack
async def test_an_answer_lost_after_the_invoice_makes_no_second_one(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("accounting", lose_answer=True)
    async with http_accounting(sandbox.url) as accounting:
        invoice_id = await accounting.create_invoice(Invoice(order, "c1", 100, "EUR"), key=f"{order}/invoice")

    (effect,) = sandbox.ledger(order)
    assert (effect["kind"], effect["data"]["invoice_id"]) == ("invoice", invoice_id)
    assert effect["data"]["amount_cents"] == 100


@pytest.mark.stack
async def test_a_silent_accounting_system_ends_unknown(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("accounting", silent=True)
    async with http_accounting(sandbox.url, QUICK) as accounting:
        with pytest.raises(Unknown):
            await accounting.create_invoice(Invoice(order, "c1", 100, "EUR"), key=order)

    assert sandbox.kinds(order) == []
