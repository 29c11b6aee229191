"""`dead-letters list` and `show`."""

from __future__ import annotations

from typing import Any

from contracts.record import IncomingRecord


def letter(topic: str, offset: int, reason: str, value: bytes = b'{"a": 1}', **headers: str) -> IncomingRecord:
    pairs = {
        "ce_type": "orders.placed.v1",
        **headers,
        "dl_reason": reason,
        "dl_detail": "because",
        "dl_topic": "orders.events",
        "dl_partition": "3",
        "dl_offset": "17",
        "dl_service": topic.removesuffix(".dead-letters"),
        "dl_at": f"2026-01-01T00:00:0{offset}.000Z",
    }
    encoded = tuple((name, text.encode()) for name, text in pairs.items())
    return IncomingRecord(topic, 2, offset, 1_000 + offset, b"o1", value, encoded)


def test_list_is_over_all_services_newest_first(counterpoint: Any, world: Any) -> None:
    world.connections.dead = [
        letter("payment.dead-letters", 1, "key-mismatch"),
        letter("orchestrator.dead-letters", 2, "invalid-json"),
    ]
    rows = counterpoint.json("dead-letters", "list")
    assert [row["reason"] for row in rows] == ["invalid-json", "key-mismatch"]
    assert rows[0] == {
        "address": "orchestrator.dead-letters-2-2",
        "topic": "orchestrator.dead-letters",
        "partition": 2,
        "offset": 2,
        "at": "2026-01-01T00:00:02.000Z",
        "service": "orchestrator",
        "reason": "invalid-json",
        "detail": "because",
        "type": "orders.placed.v1",
        "key": "o1",
        "origin": "orders.events-3-17",
    }
    assert [row["service"] for row in counterpoint.json("dead-letters", "list", "--service", "payment")] == ["payment"]
    assert counterpoint.json("dead-letters", "list", "--reason", "too-old") == []
    assert len(counterpoint.json("dead-letters", "list", "--limit", "1")) == 1
    table = counterpoint("dead-letters", "list").stdout
    assert "orchestrator.dead-letters-2-2" in table and "key-mismatch" in table


def test_show_prints_the_original_headers_and_value(counterpoint: Any, world: Any) -> None:
    world.connections.dead = [letter("payment.dead-letters", 1, "key-mismatch", ce_source="/shop")]
    shown = counterpoint.json("dead-letters", "show", "payment.dead-letters-2-1")
    assert shown["headers"] == [["ce_type", "orders.placed.v1"], ["ce_source", "/shop"]]
    assert (shown["value"], shown["value_encoding"]) == ({"a": 1}, "json")
    text = counterpoint("dead-letters", "show", "payment.dead-letters/2/1").stdout
    assert "key-mismatch: because" in text
    assert "it was orders.events-3-17, key o1" in text
    assert "ce_source: /shop" in text
    assert '"a": 1' in text


def test_values_that_are_not_json_are_shown_as_they_are(counterpoint: Any, world: Any) -> None:
    world.connections.dead = [
        letter("payment.dead-letters", 1, "invalid-json", b"{oops"),
        letter("payment.dead-letters", 2, "invalid-json", b"\xff\xfe"),
    ]
    text = counterpoint.json("dead-letters", "show", "payment.dead-letters-2-1")
    assert (text["value"], text["value_encoding"]) == ("{oops", "text")
    raw = counterpoint.json("dead-letters", "show", "payment.dead-letters-2-2")
    assert (raw["value"], raw["value_encoding"]) == ("//4=", "base64")
    assert "(not text; base64)" in counterpoint("dead-letters", "show", "payment.dead-letters-2-2").stdout


def test_addresses_are_checked(counterpoint: Any) -> None:
    assert counterpoint("dead-letters", "show", "payment.dead-letters-2-9").exit_code == 3
    assert counterpoint("dead-letters", "show", "payment.dead-letters").exit_code == 2
    assert counterpoint("dead-letters", "show", "orders.events-1-2").exit_code == 2


def test_an_empty_list_says_so_on_standard_error(counterpoint: Any) -> None:
    result = counterpoint("dead-letters", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "there is no such dead letter" in result.stderr
