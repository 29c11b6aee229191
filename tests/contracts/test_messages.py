"""Every message: round trips, the published schema and the model agree, readers are tolerant, writers are not loose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from contracts.catalog import standard_catalog
from contracts.inventory import ReserveStock, StockReserved, StockUnavailable
from contracts.message import Command, Event, Message
from contracts.orders import OrderPlaced
from contracts.technical import CommandFailed
from tests.contracts.samples import IDS, MESSAGES, payloads

SLOW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
FOREIGN: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "x" * 2_000, "1", [], {}, [{}], "2026-01-31T09:30:00Z", 10**16)
"""Values to put where others belong."""


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_round_trip_and_schema(message: type[Message]) -> None:
    validator = Draft202012Validator(message.model_json_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)

    @SLOW
    @given(payloads(message))
    def check(payload: dict[str, Any]) -> None:
        validator.validate(payload)
        read = message.model_validate_json(json.dumps(payload))
        written = read.to_json()
        assert message.model_validate_json(written) == read
        assert message.model_validate_json(written).to_json() == written
        validator.validate(json.loads(written))
        assert json.loads(written).keys() <= message.model_fields.keys()

    check()


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_the_schema_refuses_what_the_model_refuses(message: type[Message]) -> None:
    """A client that validates with the published schema is not surprised: one foreign value in each field."""
    validator = Draft202012Validator(message.model_json_schema())

    @settings(SLOW, max_examples=4)
    @given(payloads(message), st.data())
    def check(payload: dict[str, Any], data: st.DataObject) -> None:
        for name in message.model_fields:
            for value in FOREIGN:
                mutated = {**payload, name: value}
                if message is OrderPlaced and name in ("lines", "total_cents"):
                    continue  # the sum of the lines is a rule that JSON Schema cannot say
                assert accepts(message, mutated) == validator.is_valid(mutated), (name, value)
            without = {key: value for key, value in payload.items() if key != name}
            assert accepts(message, without) == validator.is_valid(without), name

    check()


def accepts(message: type[Message], payload: dict[str, Any]) -> bool:
    try:
        message.model_validate_json(json.dumps(payload))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_unknown_fields_are_ignored_and_never_written(message: type[Message]) -> None:
    @settings(SLOW, max_examples=3)
    @given(payloads(message))
    def check(payload: dict[str, Any]) -> None:
        strange = _with_unknown(payload)
        read = message.model_validate_json(json.dumps(strange))
        assert read == message.model_validate_json(json.dumps(payload))
        assert b"unheard_of" not in read.to_json()

    check()


def _with_unknown(value: Any) -> Any:
    """An undeclared field in every object; what is a whole payload itself is kept as it is."""
    if isinstance(value, dict):
        known = {
            key: inner
            if key in ("outcome", "correction", "payload", "form", "event", "result", "data")
            else _with_unknown(inner)
            for key, inner in value.items()
        }
        return {**known, "unheard_of": {"a": 1}}
    if isinstance(value, list):
        return [_with_unknown(item) if isinstance(item, dict) else item for item in value]
    return value


@pytest.mark.parametrize("message", MESSAGES, ids=IDS)
def test_messages_are_frozen_and_keyed_by_their_first_field(message: type[Message]) -> None:
    @settings(SLOW, max_examples=2)
    @given(payloads(message))
    def check(payload: dict[str, Any]) -> None:
        read = message.model_validate_json(json.dumps(payload))
        first = next(iter(message.model_fields))
        assert read.key == payload[first]
        with pytest.raises(ValidationError, match="frozen"):
            setattr(read, first, "other")

    check()


def test_absent_optional_fields_are_left_out_not_null() -> None:
    failed = CommandFailed(command_type="a.b.v1", code="c", message="", effect="none", retryable=False)
    assert failed.to_json() == (b'{"command_type":"a.b.v1","code":"c","message":"","effect":"none","retryable":false}')


def test_no_message_has_a_set_whose_order_differs_between_processes() -> None:
    assert [message.type for message in MESSAGES if "uniqueItems" in json.dumps(message.model_json_schema())] == []


ORDER = {
    "order_id": "o1",
    "customer_id": "c1",
    "lines": [{"sku": "s1", "quantity": 2, "unit_price_cents": 250}],
    "total_cents": 500,
    "currency": "EUR",
    "ship_to": {"name": "A", "street": "B", "city": "C", "postal_code": "1", "country": "DE"},
    "payment_method": "pm_1",
}


@pytest.mark.parametrize(
    "change",
    (
        {"total_cents": 501},
        {"order_id": "a:b"},
        {"order_id": ""},
        {"order_id": "x" * 129},
        {"order_id": "o1\n"},
        {"order_id": "ö"},
        {"currency": "eur"},
        {"currency": "EUR\n"},
        {"lines": []},
        {"lines": [{"sku": "s1", "quantity": 0, "unit_price_cents": 1}], "total_cents": 0},
        {"lines": [{"sku": "s1", "quantity": -1, "unit_price_cents": -1}], "total_cents": 1},
        {"lines": [{"sku": "s1", "quantity": "2", "unit_price_cents": 250}]},
        {"total_cents": 500.0},
        {"placed_at": "2026-01-31T09:30:00"},
        {"placed_at": "2026-01-31T09:30:00+01:00"},
        {"placed_at": "2026-01-31"},
        {"placed_at": 1_769_851_800},
        {"placed_at": "1769851800"},
        {"ship_to": {"name": "A"}},
    ),
    ids=str,
)
def test_an_order_against_the_contract(change: dict[str, Any]) -> None:
    assert accepts(OrderPlaced, ORDER)
    assert not accepts(OrderPlaced, ORDER | change)


@pytest.mark.parametrize(
    "text", ("2026-01-31T09:30:00Z", "2026-01-31t09:30:00.123456789z", "2026-01-31T09:30:00+00:00")
)
def test_rfc_3339_in_utc_is_taken_in_all_its_spellings(text: str) -> None:
    assert accepts(OrderPlaced, ORDER | {"placed_at": text})


def test_a_command_names_its_outcomes() -> None:
    assert (ReserveStock.succeeds, ReserveStock.refuses) == ((StockReserved,), (StockUnavailable,))
    with pytest.raises(TypeError, match="names the event that says it succeeded"):
        type("Mute", (Command,), {"__annotations__": {"id": str}}, type="a.mute.v1")


@pytest.mark.parametrize(
    "name",
    ("placed", "orders.placed", "orders.placed.v0", "Orders.placed.v1", "a.b.c.v1", "a b.c.v1", "orders.placed.v1\n"),
)
def test_a_type_name_has_three_parts(name: str) -> None:
    with pytest.raises(TypeError, match=r"is not <context>\.<name>\.v<N>"):
        type("Odd", (Event,), {"__annotations__": {"id": str}}, type=name)


def test_types_are_unique_and_outcomes_stay_in_their_context() -> None:
    catalog = standard_catalog()
    assert len(catalog) == len({message.type for message in catalog}) == len(MESSAGES)
    for command in catalog.commands():
        context = command.type.split(".")[0]
        outcomes = command.succeeds + command.refuses
        assert {event.type.split(".")[0] for event in outcomes} == {context}
        assert command.topic == f"{context}.commands"
        assert {next(iter(event.model_fields)) for event in outcomes} == {next(iter(command.model_fields))}
