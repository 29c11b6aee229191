"""The envelope codec, checked against the CloudEvents SDK both ways, and every way in which headers can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.envelope import (
    ATTRIBUTE_LENGTH_MAX,
    Envelope,
    EnvelopeError,
    decode_carefully,
    decode_headers,
    encode_headers,
    format_time,
    parse_time,
)
from contracts.record import Headers

WHOLE = Envelope(
    id="order-fulfilment:o1/charge/undo/1",
    source="/counterpoint/orchestrator",
    type="payment.refund.v1",
    time="2026-01-31T09:30:00.250Z",
    process_id="order-fulfilment:o1",
    causation_id="e-1",
    idempotency_key="order-fulfilment:o1/charge/undo/1",
    deadline="2026-01-31T09:45:00.250Z",
    try_number=2,
    undoes=("order-fulfilment:o1/charge/1", "order-fulfilment:o1/charge/2"),
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    extensions={"subject": "o1", "tenant": "äöü"},
)
REQUIRED: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/shop"),
    ("ce_type", b"orders.placed.v1"),
)


def without(*names: str) -> Headers:
    return tuple(header for header in REQUIRED if header[0] not in names)


def test_on_the_wire_exactly_these_headers_in_this_order() -> None:
    assert [name for name, _ in encode_headers(WHOLE)] == [
        *("ce_specversion", "ce_id", "ce_source", "ce_type", "content-type", "ce_time", "ce_processid"),
        *("ce_causationid", "ce_idempotencykey", "ce_deadline", "ce_try", "ce_undoes", "traceparent"),
        *("ce_subject", "ce_tenant"),
    ]
    assert dict(encode_headers(WHOLE))["ce_undoes"] == b"order-fulfilment:o1/charge/1,order-fulfilment:o1/charge/2"


# Against the SDK.


def test_the_sdk_reads_what_we_write() -> None:
    event = from_binary_event(KafkaMessage(dict(encode_headers(WHOLE)), b"o1", b'{"order_id": "o1"}'))
    assert (event.get_id(), event.get_source(), event.get_type()) == (WHOLE.id, WHOLE.source, WHOLE.type)
    assert event.get_time() == datetime(2026, 1, 31, 9, 30, 0, 250_000, UTC)
    assert (event.get_datacontenttype(), event.get_specversion(), event.get_subject()) == (
        "application/json",
        "1.0",
        "o1",
    )
    assert event.get_data() == {"order_id": "o1"}
    extensions = {
        name: event.get_extension(name)
        for name in ("processid", "causationid", "idempotencykey", "deadline", "try", "undoes", "tenant")
    }
    assert extensions == {
        "processid": WHOLE.process_id,
        "causationid": WHOLE.causation_id,
        "idempotencykey": WHOLE.idempotency_key,
        "deadline": WHOLE.deadline,
        "try": "2",
        "undoes": ",".join(WHOLE.undoes),
        "tenant": "äöü",
    }


def test_we_read_what_the_sdk_writes() -> None:
    attributes: dict[str, Any] = {
        "id": "e-1",
        "source": "/shop",
        "type": "orders.placed.v1",
        "specversion": "1.0",
        "time": datetime(2026, 1, 31, 10, 30, tzinfo=timezone(timedelta(hours=1))),
        "datacontenttype": "application/json",
        "subject": "o1",
        "processid": "p:1",
        "causationid": "c-1",
        "try": 3,
        "undoes": "a/1,a/2",
    }
    message = to_binary_event(CloudEvent(attributes, {"order_id": "o1"}), key_mapper=lambda event: "o1")
    envelope = decode_headers(tuple(message.headers.items()))
    assert envelope == Envelope(
        id="e-1",
        source="/shop",
        type="orders.placed.v1",
        time="2026-01-31T10:30:00+01:00",
        process_id="p:1",
        causation_id="c-1",
        try_number=3,
        undoes=("a/1", "a/2"),
        extensions={"subject": "o1"},
    )
    assert parse_time(envelope.time or "") == parse_time("2026-01-31T09:30:00Z")
    assert json.loads(message.value) == {"order_id": "o1"}


def test_the_sdks_defaults_are_enough() -> None:
    """Type and source given, id and time made by the SDK, no content type, no key."""
    event = CloudEvent({"type": "orders.placed.v1", "source": "/shop"}, {"order_id": "o1"})
    message = to_binary_event(event)
    assert "content-type" not in message.headers and message.key is None
    envelope = decode_headers(tuple(message.headers.items()))
    assert (envelope.id, envelope.type) == (event.get_id(), "orders.placed.v1")


def test_the_required_headers_are_enough() -> None:
    assert decode_headers(REQUIRED) == Envelope(id="e-1", source="/shop", type="orders.placed.v1")


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,19}", fullmatch=True).filter(
    lambda name: name not in {"id", "source", "type", "specversion", "time", "data", "datacontenttype", "dataschema"}
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
OURS = {"processid", "causationid", "idempotencykey", "deadline", "try", "undoes", "subject", "partitionkey"}


@given(
    st.builds(
        Envelope,
        id=TEXTS,
        source=TEXTS,
        type=TEXTS,
        time=st.none() | st.integers(0, 4_102_444_800_000).map(format_time),
        process_id=st.none() | TEXTS,
        causation_id=st.none() | TEXTS,
        idempotency_key=st.none() | TEXTS,
        deadline=st.none() | st.integers(0, 4_102_444_800_000).map(format_time),
        try_number=st.none() | st.integers(0, 999_999_999),
        undoes=st.lists(TEXTS.filter(lambda text: "," not in text), max_size=3).map(tuple),
        traceparent=st.none() | TEXTS,
        extensions=st.dictionaries(NAMES.filter(lambda name: name not in OURS), TEXTS, max_size=3),
    )
)
def test_round_trips_through_our_codec_and_through_the_sdk(envelope: Envelope) -> None:
    headers = encode_headers(envelope)
    assert decode_headers(headers) == envelope
    again = to_binary_event(from_binary_event(KafkaMessage(dict(headers), None, b"{}")))
    traceparent = tuple(header for header in headers if header[0] == "traceparent")  # Kafka's, not CloudEvents'
    back = decode_headers((*again.headers.items(), *traceparent))
    if envelope.time is not None:  # where there is none, the SDK takes the time of reading
        assert back.time is not None and parse_time(back.time) == parse_time(envelope.time)
    assert Envelope(**{**_fields(back), "time": None}) == Envelope(**{**_fields(envelope), "time": None})


def _fields(envelope: Envelope) -> dict[str, Any]:
    return {name: getattr(envelope, name) for name in Envelope._fields}


SPELLINGS = st.sampled_from(
    [
        "ce_specversion", "ce_id", "ce_source", "ce_type", "content-type", "Content-Type", "ce_time", "ce_processid",
        "CE_ProcessId", "ce_causationid", "ce_idempotencykey", "ce_deadline", "ce_try", "ce_undoes", "traceparent",
        "ce_subject", "x-binary", "cp_topic",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        b"1.0", b"0.3", b"application/json", b"application/json; charset=utf-8", b"text/plain", b"", None, b"\xff",
        "ä".encode(), b"7", b"-1", b"a,b,,c", b"2026-01-31T09:30:00.250Z", b"i" * 1_024, "ä".encode() * 600,
        b"i" * 1_025,
    ]
)  # fmt: skip


def _read(read: Callable[[Headers], Envelope], headers: Headers) -> object:
    try:
        return read(headers)
    except EnvelopeError as error:
        return (error.code, error.detail)


@settings(max_examples=500)
@example([*REQUIRED, ("content-type", b"application/json")], [("ce_time", None)], False)  # type: ignore[list-item]
@given(
    st.permutations((*REQUIRED, ("content-type", b"application/json"))),
    st.lists(st.tuples(SPELLINGS, VALUES), max_size=6),
    st.booleans(),
)
def test_the_fast_way_of_reading_says_what_the_careful_one_says(
    required: list[tuple[str, bytes]], more: list[tuple[str, bytes]], first: bool
) -> None:
    headers = (*more, *required) if first else (*required, *more)
    assert _read(decode_headers, headers) == _read(decode_carefully, headers)


# Tolerance.


@pytest.mark.parametrize(
    "content_type",
    (b"application/json", b"application/json; charset=utf-8", b"Application/JSON", b" application/json ;charset=utf-8"),
)
def test_json_in_all_its_spellings(content_type: bytes) -> None:
    assert decode_headers((*REQUIRED, ("Content-Type", content_type))).id == "e-1"


def test_header_names_have_no_case_and_foreign_headers_are_passed_over() -> None:
    headers = (("CE_SpecVersion", b"1.0"), *without("ce_specversion"), ("x-binary", b"\xff\xfe"), ("b3", b"1"))
    assert decode_headers(headers) == Envelope(id="e-1", source="/shop", type="orders.placed.v1")


def test_empty_extensions_are_absent() -> None:
    empty = ("ce_processid", "ce_causationid", "ce_idempotencykey", "ce_deadline", "ce_try", "ce_undoes")
    assert decode_headers((*REQUIRED, *((name, b"") for name in empty))) == decode_headers(REQUIRED)


def test_an_unreadable_traceparent_costs_the_trace_and_not_the_message() -> None:
    assert decode_headers((*REQUIRED, ("traceparent", b"\xff"))).traceparent is None


# Refusals.

WRONG: dict[str, tuple[Headers, str]] = {
    **{f"no {name}": (without(name), "missing-attribute") for name, _ in REQUIRED},
    **{f"empty {name}": ((*without(name), (name, b"")), "missing-attribute") for name, _ in REQUIRED},
    "nothing at all": ((), "missing-attribute"),
    "structured mode": ((("content-type", b"application/cloudevents+json"),), "missing-attribute"),
    "another spec": ((*without("ce_specversion"), ("ce_specversion", b"0.3")), "wrong-specversion"),
    "xml": ((*REQUIRED, ("content-type", b"application/xml")), "wrong-content-type"),
    "json lookalike": ((*REQUIRED, ("content-type", b"application/jsonx")), "wrong-content-type"),
    "empty content type": ((*REQUIRED, ("content-type", b"")), "wrong-content-type"),
    "binary content type": ((*REQUIRED, ("content-type", b"\xff")), "wrong-content-type"),
    "an id that is not UTF-8": ((*without("ce_id"), ("ce_id", b"\xff")), "bad-attribute"),
    "an extension that is not UTF-8": ((*REQUIRED, ("ce_tenant", b"\xff")), "bad-attribute"),
    "a long id": ((*without("ce_id"), ("ce_id", b"x" * (ATTRIBUTE_LENGTH_MAX + 1))), "bad-attribute"),
    "a long source": ((*without("ce_source"), ("ce_source", b"x" * (ATTRIBUTE_LENGTH_MAX + 1))), "bad-attribute"),
    **{
        f"try {text!r}": ((*REQUIRED, ("ce_try", text)), "bad-attribute")
        for text in (b"one", b"-1", b"1.0", b"1_0", " ١".encode().strip(), b"1" * 10)
    },
    **{
        f"deadline {text!r}": ((*REQUIRED, ("ce_deadline", text)), "bad-attribute")
        for text in (b"soon", b"2026-01-31", b"2026-01-31T09:30:00", b"1769851800", b"2026-02-30T00:00:00Z")
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_headers_have_a_code(name: str) -> None:
    headers, code = WRONG[name]
    with pytest.raises(EnvelopeError) as raised:
        decode_headers(headers)
    assert raised.value.code == code
    assert raised.value.detail and str(raised.value).startswith(f"{code}: ")


@given(st.lists(st.tuples(st.sampled_from(("ce_id", "ce_try", "ce_deadline", "content-type")), st.binary(max_size=12))))
def test_whatever_the_headers_are_only_envelope_errors_are_raised(more: list[tuple[str, bytes]]) -> None:
    try:
        decode_headers((*REQUIRED, *more))
    except EnvelopeError as error:
        assert error.code in ("bad-attribute", "missing-attribute", "wrong-content-type")


# Times.


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    (
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T00:00:00.0014999Z", 1),
        ("2026-01-31T09:30:00.250Z", 1_769_851_800_250),
    ),
)
def test_rfc_3339(text: str, milliseconds: int) -> None:
    assert parse_time(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    ("20260131T093000Z", "2026-W05-6T09:30:00Z", "2026-01-31 09:30:00Z", "2026-01-31T09:30Z", "2026-01-31T09Z", ""),
)
def test_iso_8601_is_more_than_rfc_3339(text: str) -> None:
    with pytest.raises(EnvelopeError, match="not an RFC 3339 time"):
        parse_time(text)


@given(st.integers(0, 253_402_300_799_999))
def test_times_round_trip(milliseconds: int) -> None:
    assert parse_time(format_time(milliseconds)) == milliseconds


def test_a_deadline_in_milliseconds() -> None:
    assert WHOLE.deadline_ms == parse_time("2026-01-31T09:45:00.25Z")
    assert Envelope(id="1", source="s", type="t").deadline_ms is None
    assert WHOLE.identity == ("/counterpoint/orchestrator", "order-fulfilment:o1/charge/undo/1")
