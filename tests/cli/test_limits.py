"""Limits at the command line: a process that waits, a limiter that is shown, and a limited saga that is tried."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.limits import PermitGranted, PermitRequested
from contracts.record import OutgoingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.inputs import Input
from orchestrator.engine.limiters_memory import MemoryLimiters
from orchestrator.language import Concurrency, Limit, Rate, Saga, command, sequence
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT, charge, refund, release, reserve
from tests.cli.conftest import ORDER

PLACES, SPEED = "limiter:concurrency:order-fulfilment.charge", "limiter:rate:order-fulfilment.charge"


def limited(limit: Limit) -> Saga:
    return replace(ORDER_FULFILMENT, body=command(charge, undo=refund, limit=limit))


def test_show_tells_what_is_waited_for(counterpoint: Any, world: Any) -> None:
    world.book = SagaBook([limited(Rate(1))])
    process = world.running("o1")
    shown = counterpoint("show", process).stdout
    assert "waiting for a permit of rate order-fulfilment.charge for charge, asked " in shown
    assert "it asks again if nothing is answered: in " in shown
    request = world.connections.states[process].permits["charge"].request
    granted = PermitGranted(process_id=process, limiter=SPEED, request=request, not_before_ms=world.now_ms + 60_000)
    world.feed(process, granted, Envelope(id="g1", source="/counterpoint/orchestrator", type=granted.type))
    shown = counterpoint("show", process).stdout
    assert f"{SPEED} grants a permit" in shown and "it goes on: in " in shown


def test_show_tells_of_a_limiter_who_holds_and_who_waits(counterpoint: Any, world: Any) -> None:
    world.book = SagaBook([limited(Concurrency(1))])
    limiters, book = MemoryLimiters(), world.book
    for order in ("o1", "o2", "o3"):
        item = Input(
            0,
            world.now_ms,
            f"order-fulfilment:{order}",
            Envelope(id=order, source="/shop", type=ORDER.type),
            ORDER.to_json(),
            "order-fulfilment",
            1,
        )
        asked = [one for one in decide(book, None, item).effects if one.topic == "orchestrator.inbox"]
        assert [decode_headers(one.headers).type for one in asked] == [PermitRequested.type]
        limiters.tell(asked, world.now_ms)
    world.connections.states.update(limiters.states)
    shown = counterpoint.json("show", PLACES)
    assert (shown["count"], [one["process_id"] for one in shown["held"]]) == (1, ["order-fulfilment:o1"])
    assert [(one["process_id"], one["of"]) for one in shown["waiting"]] == [
        ("order-fulfilment:o2", "charge"),
        ("order-fulfilment:o3", "charge"),
    ]
    text = counterpoint("show", PLACES).stdout
    assert "1 of 1 held, 2 waiting" in text and "waits, 2." in text
    refused = counterpoint("cancel", PLACES)
    assert refused.exit_code != 0 and "is a limiter, no process" in refused.output


def test_show_tells_of_a_rate_how_far_it_is_given_away(counterpoint: Any, world: Any) -> None:
    limiters = MemoryLimiters()
    for number in range(5):
        asked = PermitRequested(process_id=SPEED, request=f"a:{number}/s/1/permit/1", count=1, period_ms=60_000)
        envelope = Envelope(id=asked.request, source="/x", type=asked.type)
        record = OutgoingRecord("orchestrator.inbox", SPEED.encode(), asked.to_json(), encode_headers(envelope))
        limiters.tell([record], world.now_ms)
    world.connections.states.update(limiters.states)
    assert counterpoint.json("show", SPEED)["kind"] == "rate"
    assert "given away 4 min 59 s ahead" in counterpoint("show", SPEED).stdout


def test_a_limited_saga_is_tried(counterpoint: Any, tmp_path: Path) -> None:
    body = sequence(
        command(reserve, undo=release, limit=Concurrency(1)), command(charge, undo=refund, limit=Rate(1, per="hour"))
    )
    counterpoint = counterpoint.changed(sagas=(replace(ORDER_FULFILMENT, body=body),))
    order, session = tmp_path / "order.json", tmp_path / "s.jsonl"
    order.write_bytes(ORDER.to_json())
    said = "success reserve; success charge"
    told = counterpoint.json(
        "try", "order-fulfilment", "--start", str(order), "--answers", said, "--record", str(session)
    )
    assert told["process"]["phase"] == "completed"
    assert json.loads(session.read_bytes().splitlines()[-1])["phase"] == "completed"
    assert counterpoint.json("try", "order-fulfilment", "--script", str(session))["differences"] == []
