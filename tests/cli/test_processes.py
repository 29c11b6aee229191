"""`list` and `show`."""

from __future__ import annotations

import json
from typing import Any

from contracts.orders import OrderLine
from contracts.payment import PaymentCaptured
from orchestrator.runtime.ownership import RefusedShard
from tests.cli.conftest import ORDER

SUMMARY = {"process_id", "saga", "version", "phase", "step", "reason", "started_at", "updated_at"}


def test_list_prints_the_summaries_latest_first(counterpoint: Any, world: Any) -> None:
    world.running("o1")
    world.compensated("o2")
    found = counterpoint.json("list")
    assert [one["process_id"] for one in found] == ["order-fulfilment:o2", "order-fulfilment:o1"]
    assert set(found[0]) == SUMMARY
    assert found[0] | {"updated_at": ""} == {
        "process_id": "order-fulfilment:o2",
        "saga": "order-fulfilment",
        "version": 1,
        "phase": "compensated",
        "step": "charge",
        "reason": "refused",
        "started_at": "2026-01-01T00:00:00.020Z",
        "updated_at": "",
    }


def test_list_chooses_by_saga_phase_age_and_limit(counterpoint: Any, world: Any) -> None:
    world.running("o1")
    world.compensated("o2")
    assert [one["process_id"] for one in counterpoint.json("list", "--phase", "running")] == ["order-fulfilment:o1"]
    assert counterpoint.json("list", "--saga", "restock") == []
    assert len(counterpoint.json("list", "--limit", "1")) == 1
    assert len(counterpoint.json("list", "--older-than", "1s")) == 2
    assert [one["process_id"] for one in counterpoint.json("list", "--older-than", "1050ms")] == ["order-fulfilment:o1"]
    assert counterpoint.json("list", "--older-than", "5m") == []


def test_list_for_people_is_a_table_and_an_empty_one_a_sentence(counterpoint: Any, world: Any) -> None:
    empty = counterpoint("list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no process fits" in empty.stderr
    world.compensated("o2")
    table = counterpoint("list").stdout
    assert "order-fulfilment:o2" in table and "compensated" in table and "charge" in table


def test_list_refuses_nonsense_as_usage(counterpoint: Any) -> None:
    for words in (["--phase", "dancing"], ["--older-than", "soon"], ["--limit", "0"], ["--no-such-option"]):
        result = counterpoint("list", *words)
        assert (result.exit_code, result.stdout) == (2, ""), words


def test_show_json_is_the_summary_and_the_history_with_full_bodies(counterpoint: Any, world: Any) -> None:
    process = world.compensated()
    shown = counterpoint.json("show", process)
    assert set(shown) == SUMMARY | {"history"}
    first, last = shown["history"][0], shown["history"][-1]
    assert {"offset", "at", "input", "result", "reason", "effects"} <= set(first)
    assert first["input"]["data"]["total_cents"] == 300
    assert [effect["type"] for effect in first["effects"]][:3] == [
        "inventory.reserve.v1",
        "payment.charge.v1",
        "shipping.create-label.v1",
    ]
    assert first["effects"][1]["data"]["amount_cents"] == 300
    assert (last["result"], last["reason"]) == ("ignored", "duplicate-start")


def test_show_tells_the_story(counterpoint: Any, world: Any) -> None:
    text = counterpoint("show", world.compensated()).stdout
    for part in (
        "order-fulfilment:o1",
        "+20 ms ✖ charge was refused",
        "after 20 ms",
        "code=insufficient_funds",
        "everything is undone, because of charge: refused",
        "↶ undo of reserve  covers order-fulfilment:o1/reserve/1",
        "inventory.release.v1",
        "✔ undo of reserve succeeded",
        "ignored, duplicate-start: the same start message came again",
        "compensated after 50 ms; undone because of charge: refused",
    ):
        assert part in text, f"{part}\n---\n{text}"


def test_show_tells_what_a_running_process_waits_for(counterpoint: Any, world: Any) -> None:
    text = counterpoint("show", world.running()).stdout
    assert "waiting for charge, sent 1.0 s ago; no answer from charge: in 29.0 s" in text


def test_show_of_a_stuck_process_names_the_commands_to_run_next(counterpoint: Any, world: Any) -> None:
    text = counterpoint("show", world.stuck_past_pivot("o1")).stdout
    assert "stuck at dispatch: failed" in text
    assert "counterpoint retry order-fulfilment:o1" in text
    assert "counterpoint skip order-fulfilment:o1 --outcome FILE" in text
    assert "counterpoint compensate" not in text
    text = counterpoint("show", world.stuck_undo("o2")).stdout
    assert "stuck at reserve/undo" in text
    assert "counterpoint skip order-fulfilment:o2\n" in text
    assert "counterpoint compensate order-fulfilment:o2" in text


def test_show_says_why_an_answer_was_ignored(counterpoint: Any, world: Any) -> None:
    process = world.running()
    captured = PaymentCaptured(order_id="o1", payment_id="p", amount_cents=300, currency="USD")
    world.answer(process, "charge/77", captured, source="/stranger")
    text = counterpoint("show", process).stdout
    assert "ignored, not-awaited: it answers a command that was never sent" in text


def test_a_long_body_is_shortened_unless_all_is_asked_for(counterpoint: Any, world: Any) -> None:
    many = tuple(OrderLine(sku=f"sku-{number}", quantity=1, unit_price_cents=10) for number in range(30))
    process = world.start(ORDER.model_copy(update={"lines": many}))
    short = counterpoint("show", process)
    assert "{sku:sku-2 quantity:1 unit_price_cents:10}, 27 more]" in " ".join(short.stdout.split())
    assert "sku-3" not in short.stdout
    assert "--full shows them whole" in short.stderr
    full = counterpoint("show", process, "--full").stdout
    assert "sku-29" in full
    assert '"postal_code": "45402"' in full


def test_an_unknown_process_is_not_found(counterpoint: Any) -> None:
    result = counterpoint("show", "o1", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "there is no process o1; a process id is <saga>:<business key>" in result.stderr


def test_endpoints_and_json_are_accepted_before_the_command_too(counterpoint: Any, world: Any) -> None:
    process = world.running()
    file = str(counterpoint.endpoints)
    blind = counterpoint.changed(environment={})
    for words in (["--endpoints", file, "--json", "show", process], ["show", process, "--endpoints", file, "--json"]):
        result = blind(*words)
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["process_id"] == process
    assert blind("show", process).exit_code == 4


def test_list_warns_of_shards_that_do_no_work(counterpoint: Any, world: Any) -> None:
    world.running()
    world.connections.refused = (RefusedShard(3, "beyond-log-end", "shard 3: Redis is at offset 9", "orchestrator-1"),)
    result = counterpoint("list", "--json")
    assert result.exit_code == 0
    assert "warning: shard 3: Redis is at offset 9" in result.stderr
    assert len(json.loads(result.stdout)) == 1
