"""The router's decisions: where each event goes, and what becomes of every kind of bad input."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contracts.catalog import standard_catalog
from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.leads import LeadAlertSent
from contracts.message import Event, Message
from contracts.orders import Address, OrderFulfilled, OrderLine, OrderPlaced
from contracts.payment import PaymentCaptured
from contracts.record import Headers, IncomingRecord
from contracts.technical import CommandFailed
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS, ORCHESTRATOR_REPLAYS, SHARDS
from orchestrator.app import needed_topics
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import read_input
from orchestrator.language import Saga, command, emit
from orchestrator.runtime.router import router_topics
from orchestrator.runtime.routing import Routed, Routing
from orchestrator.sagas import all_sagas
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT, reserve

BOOK = SagaBook(all_sagas())
ROUTING = Routing(BOOK)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
P = "order-fulfilment:o1"
PLACED = OrderPlaced(
    order_id="o1",
    customer_id="c1",
    lines=(OrderLine(sku="s", quantity=2, unit_price_cents=50),),
    total_cents=100,
    currency="EUR",
    ship_to=Address(name="n", street="s", city="c", postal_code="p", country="x"),
    payment_method="pm_ok",
)
CAPTURED = PaymentCaptured(order_id="o1", payment_id="p1", amount_cents=100, currency="EUR")
FAILED = CommandFailed(command_type="payment.charge.v1", code="down", message="", effect="none", retryable=True)


def record(
    message: Message,
    *,
    key: bytes | None = None,
    value: bytes | None = None,
    more: Headers = (),
    without: str = "",
    **attributes: object,
) -> IncomingRecord:
    """`message` as a stranger publishes it, with the required headers only."""
    envelope = Envelope(**{"id": "e1", "source": "/shop", "type": message.type, **attributes})  # type: ignore[arg-type]
    headers = tuple(pair for pair in encode_headers(envelope) if pair[0] != without)
    topic = message.topic if isinstance(message, Event) else "orders.events"
    return IncomingRecord(topic, 3, 7, 1_000, key, message.to_json() if value is None else value, headers + more)


def outcome(message: Message = CAPTURED, process: str = P, **more: object) -> IncomingRecord:
    return record(message, process_id=process, causation_id=f"{P}/charge/1", **more)  # type: ignore[arg-type]


def dead(routed: Routed) -> tuple[str, str]:
    """Reason and detail; nothing else may have come of it."""
    assert routed.dead is not None and routed.inbox == () and routed.skipped is None
    headers = dict(routed.dead.record.headers)
    assert headers["dl_reason"].decode() == routed.dead.reason
    assert routed.dead.record.topic == ORCHESTRATOR_DEAD_LETTERS
    return routed.dead.reason, headers["dl_detail"].decode()


def test_the_router_reads_the_events_of_every_context_that_a_saga_deals_with() -> None:
    contexts = {"orders.events", "inventory.events", "payment.events", "shipping.events"}
    assert router_topics(SagaBook([ORDER_FULFILMENT])) == contexts | {ORCHESTRATOR_REPLAYS}


def test_topics_of_what_sagas_only_tell_are_needed_too() -> None:
    def told(order: OrderPlaced) -> LeadAlertSent:
        return LeadAlertSent(lead_id=order.order_id, at=EPOCH)

    saga = Saga(name="telling", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=emit(told))
    book = SagaBook([saga])
    assert {"orders.events", "leads.events"} <= {topic.name for topic in needed_topics(book)}
    assert "leads.events" not in router_topics(book)


def test_a_start_goes_to_the_process_of_its_key_with_the_saga_and_version_to_start() -> None:
    came = record(PLACED)
    (sent,) = ROUTING.route(came).inbox
    assert (sent.topic, sent.key, sent.partition) == (INBOX, P.encode(), partition_of(P, SHARDS))
    assert sent.value == came.value and sent.headers[: len(came.headers)] == came.headers
    assert dict(sent.headers[len(came.headers) :]) == {
        "cp_topic": b"orders.events", "cp_partition": b"3", "cp_offset": b"7",
        "cp_saga": b"order-fulfilment", "cp_version": b"1", "cp_at": b"1000",
    }  # fmt: skip
    item = read_input(IncomingRecord(INBOX, 0, 0, 0, sent.key, sent.value, sent.headers))
    assert (item.process_id, item.saga, item.version) == (P, "order-fulfilment", 1)


def test_an_outcome_goes_to_the_process_that_it_names_and_starts_nothing() -> None:
    routed = ROUTING.route(outcome(process="order-fulfilment:other", key=b"o1"))
    assert [sent.key for sent in routed.inbox] == [b"order-fulfilment:other"] and routed.starts == 0
    assert "cp_saga" not in dict(routed.inbox[0].headers)


def test_a_start_that_names_its_own_process_is_sent_once_and_may_start_it() -> None:
    routed = ROUTING.route(record(PLACED, process_id=P))
    assert [sent.key for sent in routed.inbox] == [P.encode()] and routed.starts == 1
    assert dict(routed.inbox[0].headers)["cp_saga"] == b"order-fulfilment"


def test_a_start_that_names_another_process_goes_to_both() -> None:
    routed = ROUTING.route(record(PLACED, process_id="audit:x"))
    assert [sent.key for sent in routed.inbox] == [b"audit:x", P.encode()] and routed.starts == 1
    assert ["cp_saga" in dict(sent.headers) for sent in routed.inbox] == [False, True]


def test_a_strangers_stamps_do_not_reach_the_inbox() -> None:
    forged = (("cp_saga", b"order-fulfilment"), ("cp_version", b"9"), ("dl_topic", b"x"), ("cp_offset", b"1"))
    (sent,) = ROUTING.route(outcome(more=(*forged, ("x-shop", b"kept")))).inbox
    names = [name for name, _ in sent.headers]
    assert "cp_saga" not in names and "cp_version" not in names and "dl_topic" not in names
    assert names.count("cp_offset") == 1 and dict(sent.headers)["cp_offset"] == b"7"
    assert dict(sent.headers)["x-shop"] == b"kept"


def test_only_the_required_headers_are_needed() -> None:
    bare = record(PLACED, without="content-type")
    assert [name for name, _ in bare.headers] == ["ce_specversion", "ce_id", "ce_source", "ce_type"]
    assert len(ROUTING.route(bare).inbox) == 1


def test_what_no_saga_wants_is_skipped_without_a_look_at_its_payload() -> None:
    fulfilled = record(CAPTURED, type=OrderFulfilled.type, value=b"garbage")
    assert ROUTING.route(fulfilled) == Routed(skipped="not-for-a-saga")
    assert ROUTING.route(record(CAPTURED, type="shop.visited.v1", value=b"\xff")) == Routed(skipped="unknown-type")


def test_an_unknown_type_that_names_a_process_is_left_to_the_engine_if_it_is_json() -> None:
    odd = outcome(type="payment.authorised.v1", value=b'{"any":[1]}')
    assert [sent.value for sent in ROUTING.route(odd).inbox] == [b'{"any":[1]}']
    assert dead(ROUTING.route(odd._replace(value=b"{")))[0] == "invalid-json"


def test_two_foreign_producers_with_one_id_both_reach_the_process() -> None:
    """Whether they are the same message is the engine's question (by source and id)."""
    for source in ("/shop", "/market"):
        assert len(ROUTING.route(record(PLACED, source=source)).inbox) == 1


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_source", "ce_type"])
def test_a_missing_attribute(name: str) -> None:
    reason, detail = dead(ROUTING.route(record(PLACED, without=name)))
    assert reason == "missing-attribute" and name in detail


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("ce_specversion", b"0.3", "wrong-specversion"),
        ("content-type", b"text/xml", "wrong-content-type"),
        ("ce_id", b"\xff", "bad-attribute"),
        ("ce_deadline", b"tomorrow", "bad-attribute"),
        ("ce_try", b"one", "bad-attribute"),
    ],
)
def test_a_wrong_attribute(header: str, value: bytes, reason: str) -> None:
    came = record(PLACED, without=header, more=((header, value),))
    assert dead(ROUTING.route(came))[0] == reason


def test_no_headers_at_all() -> None:
    assert dead(ROUTING.route(record(PLACED)._replace(headers=())))[0] == "missing-attribute"


def test_a_record_without_a_value() -> None:
    letter = ROUTING.route(record(PLACED)._replace(value=None))
    assert dead(letter)[0] == "missing-value"
    assert letter.dead is not None and letter.dead.record.value == b""


@pytest.mark.parametrize("value", [b"", b"{", b"\xff\xfe", b'{"order_id":"o1"} x', b"[" * 500])
@pytest.mark.parametrize("make", [lambda value: record(PLACED, value=value), lambda value: outcome(value=value)])
def test_a_value_that_is_no_json(value: bytes, make) -> None:  # type: ignore[no-untyped-def]
    assert dead(ROUTING.route(make(value)))[0] == "invalid-json"


@pytest.mark.parametrize("value", [b"{}", b"[]", b"null", b"7", PLACED.to_json().replace(b'":100', b'":101')])
def test_a_payload_against_the_contract(value: bytes) -> None:
    assert dead(ROUTING.route(record(PLACED, value=value)))[0] == "invalid-payload"


def test_the_first_wrong_fields_are_named() -> None:
    reason, detail = dead(ROUTING.route(outcome(value=b'{"order_id":"a:b","payment_id":"p","amount_cents":-1}')))
    assert reason == "invalid-payload"
    assert "order_id: " in detail and "amount_cents: " in detail and "currency: Field required" in detail
    _, long = dead(ROUTING.route(record(PLACED, value=b"{}")))
    assert long.endswith("and 2 more")


def test_the_key_may_be_missing_but_not_another() -> None:
    assert ROUTING.route(record(PLACED, key=b"o1")).inbox and ROUTING.route(record(PLACED, key=b"")).inbox
    reason, detail = dead(ROUTING.route(record(PLACED, key=b"o2")))
    assert reason == "key-mismatch" and "'o2'" in detail and "'o1'" in detail
    assert dead(ROUTING.route(outcome(key=b"\xff")))[0] == "key-mismatch"


def test_a_command_failed_has_the_key_of_its_command() -> None:
    assert len(ROUTING.route(outcome(FAILED, key=b"o1")).inbox) == 1


@pytest.mark.parametrize("name", ["timer-fired", "operator-action", "process-started", "whatever"])
def test_nobody_else_speaks_for_the_orchestrator(name: str) -> None:
    forged = outcome(type=f"orchestrator.{name}.v1", value=b"{}")
    assert dead(ROUTING.route(forged))[0] == "reserved-type"
    assert dead(ROUTING.route(forged._replace(topic=ORCHESTRATOR_REPLAYS)))[0] == "reserved-type"


@pytest.mark.parametrize(
    "process",
    [
        "o1",
        ":o1",
        "order-fulfilment:",
        "Order:o1",
        "a:b c",
        "a:b/c",
        "a:b\n",
        "a-:b",
        "a:" + "x" * 129,
        "a:ü",
        "a:b::c",
    ],
)
def test_a_process_id_of_another_form(process: str) -> None:
    assert dead(ROUTING.route(outcome(process=process)))[0] == "bad-process-id"


def test_a_compound_business_key_is_joined_with_colons() -> None:
    assert len(ROUTING.route(outcome(process="restock:sku-1:8f2a")).inbox) == 1


def saga(name: str, key) -> Saga:  # type: ignore[no-untyped-def]
    return Saga(name=name, version=2, starts_on=OrderPlaced, key=key, body=command(reserve, irreversible=True))


@pytest.mark.parametrize(
    "key",
    [lambda order: order.nothing, lambda order: None, lambda order: "a/b", lambda order: "", lambda order: "x" * 300],
)
def test_a_key_function_that_fails_stops_its_own_saga_only(key) -> None:  # type: ignore[no-untyped-def]
    book = SagaBook([saga("good", lambda order: order.customer_id), saga("sick", key)], standard_catalog())
    routed = Routing(book).route(record(PLACED, process_id="audit:x"))
    assert [sent.key for sent in routed.inbox] == [b"audit:x", b"good:c1"]
    assert dict(routed.inbox[1].headers)["cp_version"] == b"2"
    assert routed.dead is not None and routed.dead.reason == "key-failed"
    assert b"saga sick" in dict(routed.dead.record.headers)["dl_detail"]


def test_a_dead_letter_is_the_original_and_says_where_it_was() -> None:
    came = record(PLACED, key=b"o2", more=(("dl_reason", b"forged"), ("x-shop", b"kept")))
    letter = ROUTING.route(came).dead
    assert letter is not None
    headers = letter.record.headers
    assert (letter.record.key, letter.record.value) == (came.key, came.value)
    assert [value for name, value in headers if name == "dl_reason"] == [b"key-mismatch"]
    assert ("x-shop", b"kept") in headers and ("dl_topic", b"orders.events") in headers
    assert ("dl_partition", b"3") in headers and ("dl_offset", b"7") in headers


def test_a_replay_is_treated_like_the_original() -> None:
    first = ROUTING.route(record(PLACED, key=b"o2")).dead
    assert first is not None
    again = IncomingRecord(ORCHESTRATOR_REPLAYS, 0, 99, 2_000, b"o1", first.record.value, first.record.headers)

    (sent,) = ROUTING.route(again).inbox

    headers = dict(sent.headers)
    assert (headers["cp_topic"], headers["cp_partition"], headers["cp_offset"]) == (b"orders.events", b"3", b"7")
    assert not any(name.startswith("dl_") for name in headers)


def test_a_replay_that_fails_again_still_names_its_origin() -> None:
    first = ROUTING.route(record(PLACED, key=b"o2")).dead
    assert first is not None
    again = IncomingRecord(ORCHESTRATOR_REPLAYS, 0, 99, 2_000, b"o3", first.record.value, first.record.headers)
    second = ROUTING.route(again).dead
    assert second is not None and ("dl_topic", b"orders.events") in second.record.headers
    assert [name for name, _ in second.record.headers].count("dl_reason") == 1


@pytest.mark.parametrize("headers", [(), (("dl_topic", b"\xff"), ("dl_partition", b"1"), ("dl_offset", b"x"))])
def test_a_replay_written_by_hand_is_its_own_origin(headers: Headers) -> None:
    (sent,) = ROUTING.route(record(PLACED, more=headers)._replace(topic=ORCHESTRATOR_REPLAYS)).inbox
    assert dict(sent.headers)["cp_topic"] == ORCHESTRATOR_REPLAYS.encode()
