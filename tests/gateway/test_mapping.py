"""Mappings: from a sender's JSON to the fields of an event, and declarations that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import standard_catalog
from services.gateway.declaration import DEFAULT_FORMS, DeclarationError, declaration_of
from services.gateway.mapping import CONVERSIONS, MappingError, Rule, fields_of, rule_for
from services.gateway.problems import Problem
from services.gateway.routes_webhooks import message_of
from tests.gateway.declarations import HEAD, ORDERS, SHOP_ORDER

CATALOG = standard_catalog()


def rule(fields: str, when: str = "") -> Rule:
    """Of a lead, which needs four fields: those that are not given are constants."""
    given_names = {line.split("=")[0].strip() for line in fields.splitlines() if "=" in line}
    rest = "\n".join(
        f'{name} = {{ value = "x" }}' for name in ("lead_id", "name", "email", "message") if name not in given_names
    )
    declared = f'{HEAD}type = "leads.submitted.v1"\n{when}\n[sources.shop.events.fields]\n{fields}\n{rest}\n'
    return declaration_of(declared, CATALOG).sources["shop"].rules[0]


def mapped(fields: str, payload: Any) -> dict[str, Any]:
    return fields_of(rule(fields), payload)


def test_a_whole_order() -> None:
    (one,) = declaration_of(ORDERS, CATALOG).sources["shop"].rules
    message = message_of(one, SHOP_ORDER)
    assert json.loads(message.to_json()) == {
        "order_id": "77",
        "customer_id": "c9",
        "lines": [
            {"sku": "tea", "quantity": 2, "unit_price_cents": 450},
            {"sku": "milk", "quantity": 1, "unit_price_cents": 99},
        ],
        "total_cents": 999,
        "currency": "EUR",
        "ship_to": {"name": "Ada", "street": "1", "city": "Turin", "postal_code": "10121", "country": "IT"},
        "payment_method": "pm_card",
        "placed_at": "2027-01-15T08:00:00Z",
    }


@pytest.mark.parametrize(
    ("words", "payload", "expected"),
    [
        ('name = "a.b"', {"a": {"b": "x"}}, "x"),
        ('name = "a.1.b"', {"a": [{}, {"b": "y"}]}, "y"),
        ('name = { path = ["a.b"] }', {"a.b": "z"}, "z"),
        ('name = { path = "a", default = "none" }', {"a": None}, "none"),
        ('name = { path = "a", as = "text" }', {"a": 7}, "7"),
        ('name = { path = "a", as = "integer" }', {"a": " 12 "}, 12),
        ('name = { path = "a", as = "integer" }', {"a": 12.0}, 12),
        ('name = { path = "a", as = "cents" }', {"a": 0.29}, 29),
        ('name = { path = "a", as = "cents" }', {"a": "1234.5"}, 123450),
        ('name = { path = "a", as = "upper" }', {"a": "eur"}, "EUR"),
        ('name = { path = "a", as = "lower" }', {"a": "EUR"}, "eur"),
        ('name = { path = "a", as = "time-of-seconds" }', {"a": 1_800_000_000}, "2027-01-15T08:00:00.000Z"),
        ('name = { path = "a", as = "time-of-milliseconds" }', {"a": 1_800_000_000_250}, "2027-01-15T08:00:00.250Z"),
        ('name = { each = "a", item = "b" }', {"a": [{"b": 1}, {"b": 2}]}, [1, 2]),
        ('name = { each = "a", fields = { c = { path = "b", optional = true } } }', {"a": [{}]}, [{}]),
        ("name = { value = 3 }", {}, 3),
    ],
)
def test_words(words: str, payload: Any, expected: Any) -> None:
    assert mapped(words, payload)["name"] == expected


def test_what_is_optional_and_absent_is_left_out() -> None:
    assert "company" not in mapped('company = { path = "a", optional = true }', {})


@pytest.mark.parametrize(
    ("words", "payload", "detail"),
    [
        ('name = "a.b"', {"a": 1}, "there is nothing at 'a.b'"),
        ('name = "a"', {"a": None}, "there is nothing at 'a'"),
        ('name = { each = "a", item = "b" }', {"a": {}}, "there is no list at 'a'"),
        ('name = { path = "a", as = "integer" }', {"a": True}, "no integer"),
        ('name = { path = "a", as = "integer" }', {"a": 1.5}, "no integer"),
        ('name = { path = "a", as = "cents" }', {"a": "1.234"}, "more than two decimals"),
        ('name = { path = "a", as = "cents" }', {"a": "1e999999"}, "not an amount"),
        ('name = { path = "a", as = "cents" }', {"a": "NaN"}, "not an amount"),
        ('name = { path = "a", as = "time-of-seconds" }', {"a": 10**17}, "not a time"),
        ('name = { path = "a", as = "text" }', {"a": {}}, "not a text"),
    ],
)
def test_what_is_not_there_is_said(words: str, payload: Any, detail: str) -> None:
    with pytest.raises(MappingError, match=detail):
        mapped(words, payload)


def test_all_errors_come_at_once_with_their_places() -> None:
    with pytest.raises(MappingError) as raised:
        mapped('name = { each = "a", item = { path = "b", as = "integer" } }\nemail = "c"', {"a": [{"b": 1}, {}]})
    assert [error.place for error in raised.value.errors] == [("name", 1), ("email",)]


@pytest.mark.parametrize(
    ("when", "payload", "fits"),
    [
        ('when = { "a" = "x" }', {"a": "x"}, True),
        ('when = { "a" = "x" }', {"a": "y"}, False),
        ('when = { "a" = ["x", "y"] }', {"a": "y"}, True),
        ('when = { "a" = true }', {"a": 1}, False),
        ('when = { "a" = 1 }', {"a": True}, False),
        ('when = { "a.b" = { exists = true } }', {"a": {"b": None}}, True),
        ('when = { "a.b" = { exists = false } }', {"a": {"b": None}}, False),
        ('when = { "a" = "x", "b" = "y" }', {"a": "x"}, False),
        ("", {}, True),
    ],
)
def test_conditions(when: str, payload: Any, fits: bool) -> None:
    one = rule("", when)
    assert (rule_for([one], payload) is one) == fits


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(payload=JSON, convert=st.sampled_from(sorted(CONVERSIONS)))
def test_no_json_makes_a_mapping_fail_otherwise_than_by_saying_so(payload: Any, convert: str) -> None:
    one = rule(
        f'name = {{ path = "a", as = "{convert}" }}\nemail = "a.0.b"\ncompany = {{ path = "", optional = true }}\n'
        'message = { each = "b", item = { path = "", as = "text" } }'
    )
    try:
        fields_of(one, payload)
    except MappingError as error:
        assert error.errors
    try:
        message_of(one, payload)
    except Problem as problem:
        assert problem.status == 422 and problem.errors


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ("x", "not TOML"),
        ("[surces]", "surces"),
        ('[forms."orders.plcaed.v1"]', "no contract has the type 'orders.plcaed.v1'"),
        ('[forms."payment.charge.v1"]', "is a command"),
        ('[forms."orchestrator.signal.v1"]', "the system's own"),
        ('[forms."orders.placed.v1"]\ngenerate = ["id"]', "no field id"),
        ('[sources.Shop]\nscheme="github"\nsecrets=["A"]\n[[sources.Shop.events]]\ntype="x"\nfields={}', "name is"),
        (HEAD.replace("stripe", "strype") + 'type = "x"\nfields = {}', "no scheme 'strype'"),
        (HEAD.replace('scheme = "stripe"', "") + 'type = "x"\nfields = {}', "name a scheme"),
        (HEAD.replace("[[", "remember_hours = 0.1\n[[") + 'type = "x"\nfields = {}', "longer than the replay window"),
        (HEAD.replace("[[", "id_header = 'X'\n[[") + 'type = "x"\nfields = {}', "unsigned id"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { nmae = "a" }', "no field nmae"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = "a" }', "needs lead_id, email, message"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = { path = "a", as = "int" } }', "as = 'int'"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = { path = "a", value = 1 } }', "one of path"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = { each = "a" } }', "either fields or item"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = { value = 1, as = "text" } }', "nothing beside value"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = { value = 2026-01-01 } }', "write a time as text"),
        (HEAD + 'type = "leads.submitted.v1"\nfields = { name = "a..b" }', "is no path"),
        (HEAD + 'type = "leads.submitted.v1"\nwhen = { a = [] }\nfields = {}', "never holds"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(declared: str, complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint.replace("(", r"\(")):
        declaration_of(declared, CATALOG)


def test_the_default_forms_are_those_that_have_a_contract() -> None:
    assert set(declaration_of("", CATALOG).forms) == {name for name in DEFAULT_FORMS if CATALOG.get(name)}
    assert set(declaration_of('[forms."leads.submitted.v1"]', CATALOG).forms) == {"leads.submitted.v1"}
