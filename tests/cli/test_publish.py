"""`publish`: the contract comes first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.envelope import decode_headers
from contracts.topics import MESSAGE_BYTES_MAX
from tests.cli.conftest import ORDER

GOOD = ORDER.to_json().decode()


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(GOOD), **changes})


def test_a_message_is_sent_with_its_envelope_and_its_place_is_printed(counterpoint: Any, world: Any) -> None:
    row = counterpoint.json("publish", "orders.placed.v1", "-", "--id", "m1", "--source", "/shop/web", stdin=GOOD)
    assert row | {"partition": 0} == {
        "type": "orders.placed.v1",
        "id": "m1",
        "source": "/shop/web",
        "key": "o1",
        "topic": "orders.events",
        "partition": 0,
        "offset": 0,
        "at": "1970-01-01T00:00:00.000Z",
    }
    [record] = world.connections.sent
    envelope = decode_headers(record.headers)
    assert (envelope.id, envelope.source, envelope.type) == ("m1", "/shop/web", "orders.placed.v1")
    assert (record.topic, record.key, json.loads(record.value)) == ("orders.events", b"o1", json.loads(GOOD))


def test_an_id_is_made_if_none_is_given(counterpoint: Any, tmp_path: Any) -> None:
    file = tmp_path / "order.json"
    file.write_text(GOOD)
    result = counterpoint("publish", "orders.placed.v1", str(file))
    assert result.exit_code == 0
    assert "orders.placed.v1 o1 is at orders.events, partition" in result.stdout
    assert "(id id-1, source /counterpoint/cli)" in result.stdout


def test_every_wrong_field_is_named_and_nothing_is_sent(counterpoint: Any, world: Any) -> None:
    lines = [{"sku": "milk", "quantity": 0, "unit_price_cents": 1}]
    result = counterpoint("publish", "orders.placed.v1", "-", stdin=changed(lines=lines, currency="dollars"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "lines[0].quantity: Input should be greater than or equal to 1" in result.stderr
    assert "currency: " in result.stderr
    assert world.connections.sent == []


@pytest.mark.parametrize(
    ("payload", "words", "says"),
    [
        (changed(total_cents=301), [], "the lines sum to 300"),
        ("{", [], "Invalid JSON"),
        (GOOD, ["--key", "o2"], "--key is 'o2', but the payload's order_id is 'o1'"),
        (GOOD, ["--id", ""], "--id must have 1 to 1024 characters"),
        (changed(customer_email="x" * 1_001), [], "customer_email"),
    ],
)
def test_what_breaks_the_contract_is_refused(
    counterpoint: Any, world: Any, payload: str, words: list[str], says: str
) -> None:
    result = counterpoint("publish", "orders.placed.v1", "-", *words, stdin=payload)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.connections.sent == []


def test_an_unknown_type_gets_near_names(counterpoint: Any) -> None:
    result = counterpoint("publish", "order.placed.v1", "-", stdin=GOOD)
    assert result.exit_code == 1
    assert "did you mean orders.placed.v1" in result.stderr


def test_the_systems_own_messages_are_not_published_by_hand(counterpoint: Any) -> None:
    for own in ("orchestrator.operator-action.v1", "counterpoint.command-failed.v1"):
        assert counterpoint("publish", own, "-", stdin="{}").exit_code == 1


def test_a_message_that_the_broker_would_refuse_is_refused_with_a_clear_sentence(counterpoint: Any, world: Any) -> None:
    lines = [{"sku": f"{'x' * 120}-{number}", "quantity": 1, "unit_price_cents": 0} for number in range(1_000)]
    address = dict.fromkeys(("name", "street", "city", "postal_code", "country"), "y" * 1000)
    small = changed(lines=lines, total_cents=0, ship_to=address)
    assert counterpoint("publish", "orders.placed.v1", "-", stdin=small).exit_code == 0
    world.connections.sent.clear()
    allocated = [{"sku": "x" * 100, "quantity": 1, "warehouse": "east"} for _ in range(9_000)]
    many = json.dumps({"order_id": "o1", "lines": allocated, "reservation_id": "r"})
    for type_name, big in (("inventory.reserved.v1", many), ("orders.placed.v1", changed(padding="x" * 2_000_000))):
        assert len(big) > MESSAGE_BYTES_MAX
        result = counterpoint("publish", type_name, "-", stdin=big)
        assert result.exit_code == 1
        assert "but the broker takes 1,048,576 (1 MiB); nothing was sent" in result.stderr
    assert world.connections.sent == []


def test_fields_outside_the_contract_are_left_out_and_named(counterpoint: Any, world: Any) -> None:
    result = counterpoint("publish", "orders.placed.v1", "-", "--json", stdin=changed(coupon="SUMMER"))
    assert result.exit_code == 0
    assert "coupon is not in the contract" in result.stderr
    assert "coupon" not in json.loads(world.connections.sent[0].value)
    json.loads(result.stdout)


def test_several_messages_are_sent_only_if_all_are_right(counterpoint: Any, world: Any) -> None:
    both = f"{GOOD}\n\n{changed(order_id='o2')}\n"
    rows = counterpoint.json("publish", "orders.placed.v1", "-", "--lines", stdin=both)
    assert [row["key"] for row in rows] == ["o1", "o2"]
    assert len({row["id"] for row in rows}) == 2
    world.connections.sent.clear()
    assert counterpoint("publish", "orders.placed.v1", "-", "--lines", stdin=f"{GOOD}\n{{}}").exit_code == 1
    assert counterpoint("publish", "orders.placed.v1", "-", "--lines", stdin="\n").exit_code == 1
    assert counterpoint("publish", "orders.placed.v1", "-", "--lines", "--id", "x", stdin=both).exit_code == 2
    assert world.connections.sent == []


def test_a_file_that_is_not_there_is_usage(counterpoint: Any) -> None:
    assert counterpoint("publish", "orders.placed.v1", "/no/such/file").exit_code == 2
