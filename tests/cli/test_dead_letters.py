"""`dead-letters list`, `show` and `replay`."""

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


def several(world: Any) -> None:
    world.connections.dead = [
        letter("payment.dead-letters", 3, "handler-failed"),
        letter("payment.dead-letters", 1, "key-mismatch"),
        letter("orchestrator.dead-letters", 2, "handler-failed"),
    ]


def test_one_is_replayed_as_it_is_to_the_service_that_gave_it_up(counterpoint: Any, world: Any) -> None:
    several(world)
    said = counterpoint.json("dead-letters", "replay", "payment.dead-letters-2-1", "--yes")
    assert (said["dry_run"], [one["address"] for one in said["replayed"]]) == (False, ["payment.dead-letters-2-1"])
    (sent,) = world.connections.sent
    source = world.connections.dead[1]
    assert (sent.topic, sent.key, sent.value, sent.headers) == ("payment.replays", b"o1", source.value, source.headers)


def test_a_filter_replays_the_oldest_first(counterpoint: Any, world: Any) -> None:
    several(world)
    assert counterpoint("dead-letters", "replay", "--reason", "handler-failed").exit_code == 0
    assert [record.topic for record in world.connections.sent] == ["orchestrator.replays", "payment.replays"]


def test_filters_go_together(counterpoint: Any, world: Any) -> None:
    several(world)
    for words, expected in (
        (("--service", "payment", "--type", "orders.placed.v1"), [1, 3]),
        (("--key", "o2"), []),
        (("--since", "1970-01-01T00:00:01.002Z"), [2, 3]),
        (("--until", "1970-01-01T00:00:01.002Z"), [1]),
        (("--since", "1h"), []),
        (("--until", "1h", "--reason", "key-mismatch"), [1]),
    ):
        said = counterpoint.json("dead-letters", "replay", *words, "--dry-run")
        assert [one["offset"] for one in said["replayed"]] == expected, words
        rows = counterpoint.json("dead-letters", "list", *words)
        assert [one["offset"] for one in rows] == expected[::-1]
    assert world.connections.sent == []


def test_what_would_be_too_much_or_means_nothing_replays_nothing(counterpoint: Any, world: Any) -> None:
    several(world)
    for words, code in (
        (("--service", "payment", "--limit", "1"), 1),
        ((), 2),
        (("payment.dead-letters-2-1", "--service", "payment"), 2),
        (("--since", "yesterday"), 2),
        (("payment.dead-letters-2-1", "payment.dead-letters-2-9"), 3),
        (("payment.events-2-1",), 2),
    ):
        assert counterpoint("dead-letters", "replay", *words).exit_code == code, words
    person = counterpoint.changed(interactive=True)
    assert person("dead-letters", "replay", "payment.dead-letters-2-1", stdin="n\n").exit_code == 1
    assert world.connections.sent == []
    assert person("dead-letters", "replay", "payment.dead-letters-2-1", stdin="y\n").exit_code == 0
    assert len(world.connections.sent) == 1
    assert "there is no such dead letter" in counterpoint("dead-letters", "replay", "--key", "none").stderr
