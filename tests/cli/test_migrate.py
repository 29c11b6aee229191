"""`versions migrate`: what can be moved, what not and why, and what became of the requests."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.envelope import Envelope
from contracts.ids import partition_of
from contracts.inventory import StockReserved
from contracts.process import MigrationRequested
from contracts.topics import SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.process import encode_process
from orchestrator.language import Migration, Sequence, sequence, sleep
from orchestrator.runtime.checkpoint import process_write
from orchestrator.runtime.readmodel import ReadModel
from orchestrator.runtime.store import Checkpoint, ShardPosition
from orchestrator.runtime.store_memory import MemoryStore
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT

SAGA = "order-fulfilment"
assert isinstance(ORDER_FULFILMENT.body, Sequence)
FIRST, PIVOT, DISPATCH, FULFILLED = ORDER_FULFILMENT.body.children
PAUSE = sleep(timedelta(minutes=5), name="breath")
NEWER = replace(
    ORDER_FULFILMENT, version=2, body=sequence(FIRST, PIVOT, PAUSE, DISPATCH, FULFILLED), migrates=(Migration(1),)
)
"""A pause before the dispatch: what is dispatched already is past it."""


@pytest.fixture
def both(counterpoint: Any, world: Any) -> Any:
    world.book = SagaBook([ORDER_FULFILMENT, NEWER])
    return counterpoint.changed(sagas=(ORDER_FULFILMENT, NEWER))


def move(*more: str) -> tuple[str, ...]:
    return ("versions", "migrate", SAGA, "--from", "1", "--to", "2", *more)


def test_a_dry_run_says_of_each_whether_it_can_be_moved(both: Any, world: Any) -> None:
    world.running("o1")
    world.stuck_past_pivot("o2")
    world.compensated("o3")
    result = both(*move("--all", "--dry-run", "--json"))
    assert result.exit_code == 1 and "1 of 2 cannot be moved; they stay in version 1" in result.stderr
    said = json.loads(result.stdout)
    assert said["counts"] == {"movable": 1, "refused": 1} and said["dry_run"] is True
    first, second = said["processes"]
    assert (first["process_id"], first["result"], first["why"]) == ("order-fulfilment:o1", "movable", None)
    assert second["why"] == "breath is new in version 2 and stands at or before dispatch, which it has passed: " + (
        "that would never run"
    )
    assert world.connections.actions == []
    text = both(*move("order-fulfilment:o1", "--dry-run"))
    assert (text.exit_code, text.stdout.splitlines()) == (
        0,
        ["order-fulfilment:o1  movable", "version 1 to 2 of order-fulfilment: 1 movable"],
    )


def test_all_are_moved_and_the_counts_follow(both: Any, world: Any) -> None:
    world.running("o1")
    world.running("o2")
    said = both.json(*move("--all", "--reason", "the new carrier"))
    assert said["counts"] == {"moved": 2}
    assert {one.version for one in world.connections.states.values()} == {2}
    assert [row["unfinished"] for row in both.json("versions")] == [0, 2]
    shown = both("show", "order-fulfilment:o1").stdout
    assert "ada says: migrate from version 1 to 2" in shown
    assert "ada asked for version 2 instead of 1 (the new carrier)" in shown
    world.answer("order-fulfilment:o1", "reserve/1", StockReserved(order_id="o1", reservation_id="r1", lines=()))
    assert both.json(*move("--all", "--reason", "again"))["counts"] == {}


def test_what_cannot_be_moved_is_told_and_the_rest_is_moved(both: Any, world: Any) -> None:
    world.running("o1")
    world.stuck_past_pivot("o2")
    result = both(*move("--all", "--reason", "x", "--json"))
    assert (result.exit_code, json.loads(result.stdout)["counts"]) == (1, {"moved": 1, "refused": 1})
    assert [message.process_id for message, _ in world.connections.actions] == ["order-fulfilment:o1"]


def test_one_that_goes_on_meanwhile_is_looked_at_again(both: Any, world: Any) -> None:
    process = world.running("o1")
    forward = world.connections.on_action

    async def first_an_answer(message: Any, message_id: str) -> None:
        if len(world.connections.actions) == 1:
            world.answer(process, "reserve/1", StockReserved(order_id="o1", reservation_id="r1", lines=()))
        await forward(message, message_id)

    world.connections.on_action = first_an_answer
    assert both.json(*move(process, "--reason", "x"))["counts"] == {"moved": 1}
    assert [message.revision for message, _ in world.connections.actions] == [1, 2]


def test_one_that_never_rests_is_told_in_the_end(both: Any, world: Any) -> None:
    process = world.running("o1")
    states = world.connections.states
    forward = world.connections.on_action

    async def always_ahead(message: Any, message_id: str) -> None:
        states[process] = msgspec.structs.replace(states[process], revision=message.revision + 1)
        await forward(message, message_id)

    world.connections.on_action = always_ahead
    result = both(*move(process, "--reason", "x"))
    assert result.exit_code == 1 and "stale: the process had moved on by then" in result.stdout
    assert len(world.connections.actions) == 3


def test_nobody_answers(both: Any, world: Any) -> None:
    process = world.running("o1")
    world.connections.on_action = None
    result = both(*move(process, "--reason", "x", "--wait", "0.1"))
    assert result.exit_code == 4 and "1 unanswered" in result.stdout
    unwaited = both(*move(process, "--reason", "x", "--no-wait"))
    assert unwaited.exit_code == 0 and "1 requested" in unwaited.stdout
    (message, _) = world.connections.actions[-1]
    assert isinstance(message, MigrationRequested) and (message.operator, message.note) == ("ada", "x")


def test_what_is_not_asked_for_rightly_is_refused(both: Any, world: Any) -> None:
    process = world.running("o1")
    assert both(*move("--dry-run")).exit_code == 2
    assert both(*move(process, "--all", "--dry-run")).exit_code == 2
    assert both(*move(process)).exit_code == 2
    assert both(*move("order-fulfilment:o9", "--dry-run")).exit_code == 3
    assert both("versions", "migrate", SAGA, process, "--from", "1", "--to", "7", "--dry-run").exit_code == 3
    assert both("versions", "migrate", SAGA, process, "--from", "2", "--to", "1", "--dry-run").exit_code == 2
    assert both("versions", "migrate", SAGA, process, "--to", "2", "--dry-run").exit_code == 2
    states = world.connections.states
    states[process] = msgspec.structs.replace(states[process], version=2)
    moved = both(*move(process, "--dry-run"))
    assert moved.exit_code == 1 and "it is in version 2 of order-fulfilment" in moved.stdout


async def test_the_read_model_hands_out_what_has_not_ended(world: Any) -> None:
    one = world.connections.states[world.running("o1")]
    two = msgspec.structs.replace(one, id="order-fulfilment:o1b", version=2)
    done = world.connections.states[world.compensated("o2")]
    store = MemoryStore()
    for number, process in enumerate((one, two, done)):
        position = ShardPosition(number + 1, "", f"c{number}", 1)
        write = process_write(None, process, encode_process(process), ())
        await store.write([Checkpoint(partition_of(process.id, SHARDS), None, position, (write,), (SAGA,), 1)])
    pages = [page async for page in ReadModel(store).unfinished(SAGA, 1)]
    assert [[process.id for process in page] for page in pages] == [["order-fulfilment:o1"]]


def test_the_history_of_a_moved_process_is_replayed_in_one_version(both: Any, world: Any, tmp_path: Path) -> None:
    process = world.running("o1")
    both(*move(process, "--reason", "x"))
    world.answer(process, "reserve/1", StockReserved(order_id="o1", reservation_id="r1", lines=()))
    shown = tmp_path / "show.json"
    shown.write_text(json.dumps(both.json("show", process)))
    for version in ("1", "2"):
        result = both("try", SAGA, "--recorded", str(shown), "--version", version)
        assert result.exit_code == 0 and "the same" in result.stdout, result.stderr


def test_why_a_request_was_ignored_is_in_the_history(both: Any, world: Any) -> None:
    process = world.stuck_past_pivot("o1")
    seen = world.connections.states[process].revision
    asked = MigrationRequested(process_id=process, from_version=1, to_version=2, revision=seen, operator="eve")
    world.feed(process, asked, Envelope(id="m1", source="/counterpoint/operator", type=asked.type))
    assert world.connections.states[process].version == 1
    shown = both("show", process).stdout
    assert "not-migratable: its state cannot be carried over to that version" in shown
    assert "breath is new in version 2" in shown
