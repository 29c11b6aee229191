"""Packed values: nothing is lost, what older builds stored is read, and what waits is small."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.inventory import AllocatedLine, StockReserved
from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.payment import PaymentCaptured
from contracts.shipping import LabelCreated
from orchestrator.engine.process import encode_process
from orchestrator.language import Retry, Saga, approval, command, parallel, pivot, sequence, sleep
from orchestrator.runtime import packing
from orchestrator.runtime.checkpoint import rests
from orchestrator.runtime.packing import PackedWrong, pack, plain, unpack
from orchestrator.sagas.order_fulfilment import charge, create_label, dispatch, refund, release, reserve, void_label
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, lab_saga, step

REDIS_OVERHEAD = 500
"""Bytes of Redis' own for a process with one timer (benchmarks/waiting.py): keys, list, timers, index, tables."""
BYTES_WANTED = 2_048
WORDS_DIGEST = "41cce6786499397477f9eb5d492468c3"
GOLDEN = "AYMqHxQUWpIEFutWWYZKtQA="
"""`b"running" * 20 + b'{"process_id":"lab:j1"}'`, packed by the first build that did."""


@given(st.binary(max_size=2_000) | st.text(max_size=500).map(str.encode))
def test_what_is_packed_is_unpacked(value: bytes) -> None:
    assert unpack(pack(value)) == unpack(plain(value)) == value
    assert len(pack(value)) <= len(value) + 1


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01", b"\x01" * 500, b"\x00" + b"running" * 50])
def test_what_looks_like_packed_is_told_apart(value: bytes) -> None:
    assert unpack(pack(value)) == unpack(plain(value)) == value


def test_what_older_builds_stored_is_read_as_it_is() -> None:
    """A state and a history entry are msgpack maps."""
    for first in (*range(0x80, 0x90), 0xDE, 0xDF):
        old = bytes([first]) + b"anything"
        assert unpack(old) == old and plain(old) == old


def test_the_words_are_the_same_for_ever() -> None:
    assert hashlib.sha256(packing.WORDS_1).hexdigest()[:32] == WORDS_DIGEST
    assert unpack(base64.b64decode(GOLDEN)) == b"running" * 20 + b'{"process_id":"lab:j1"}'
    assert len(base64.b64decode(GOLDEN)) < 60


def test_damage_is_noticed() -> None:
    packed = pack(b'{"order_id":"o1","result":"applied"}' * 30)
    for damaged in (packed[:-3], packed[:1], packed[:1] + b"\xff" * 40):
        with pytest.raises(PackedWrong):
            unpack(damaged)


def test_more_than_any_value_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "UNPACKED_MAX", 1_000)
    assert unpack(pack(b"a" * 1_000)) == b"a" * 1_000
    with pytest.raises(PackedWrong, match="too long"):
        unpack(pack(b"a" * 1_001))


# What a process that waits takes.


def waiting_order() -> Story:
    """An order of three lines, reserved, charged and labelled, that sleeps: the most that it has captured."""
    everything = parallel(
        command(reserve, undo=release), command(charge, undo=refund), command(create_label, undo=void_label)
    )
    body = sequence(everything, sleep(timedelta(days=365), name="a_year"), pivot(), command(dispatch))
    saga = Saga(name="order-fulfilment", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=body)
    lines = tuple(OrderLine(sku=f"p{n}71", quantity=n, unit_price_cents=1_99) for n in (1, 2, 3))
    home = Address(name="A. Customer", street="1 Long Road", city="Springfield", postal_code="12345", country="US")
    order = OrderPlaced(
        order_id="o-28023",
        customer_id="c345",
        lines=lines,
        total_cents=1_194,
        currency="USD",
        ship_to=home,
        payment_method="pm_card",
    )
    stock = tuple(AllocatedLine(sku=line.sku, quantity=line.quantity, warehouse="east") for line in lines)
    story = Story(saga).starts(order).sends("reserve", "charge", "create_label")
    story.succeeds("reserve", StockReserved(order_id=order.order_id, reservation_id="r-991", lines=stock))
    story.succeeds(
        "charge", PaymentCaptured(order_id=order.order_id, payment_id="p-17", amount_cents=1_194, currency="USD")
    )
    label = LabelCreated(order_id=order.order_id, label_id="l-5", carrier="swift", tracking_number="1Z999AA10123456784")
    return story.succeeds("create_label", label).goes_on()


def test_a_realistic_order_that_waits_fits_into_two_kilobytes() -> None:
    story = waiting_order()
    history = [fed.decision.history for fed in story.fed if fed.decision.history is not None]
    assert len(history) == 4 and rests(story.process)
    values = [encode_process(story.process), *history]
    assert sum(map(len, values)) > BYTES_WANTED
    assert sum(len(pack(value)) for value in values) < BYTES_WANTED - REDIS_OVERHEAD


def test_a_process_rests_when_nothing_is_under_way() -> None:
    saga = lab_saga(
        sequence(step("a", retry=Retry(attempts=2)), approval("b", role="clerk", limit=timedelta(days=1)), step("c"))
    )
    story = Story(saga).starts(Begun(job_id="j1")).sends("a")
    assert not rests(story.process)  # an answer is awaited
    story.fails("a")
    assert not rests(story.process)  # a new try is due
    story.waits_until("a/retry").sends("a").succeeds("a")
    assert rests(story.process)  # a person is
    story.approves("b", no=True).undoes("a")
    assert not rests(story.process)
    story.undo_fails("a")
    assert not rests(story.process)
    story.waits_until("a/undo/1/retry").undoes("a").undone("a").ends("compensated")
    assert rests(story.process)
