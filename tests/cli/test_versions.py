"""`versions`: which there are and still run, whether one may be dropped, and what is recorded of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.ids import partition_of
from contracts.payment import PaymentCaptured
from contracts.process import MigrationRequested
from contracts.record import IncomingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.book import SagaBook, UnknownVersion
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.engine.process import encode_process
from orchestrator.runtime.checkpoint import process_write
from orchestrator.runtime.inbox_writer import input_record
from orchestrator.runtime.readmodel import ReadModel
from orchestrator.runtime.store import Checkpoint, ShardPosition
from orchestrator.runtime.store_memory import MemoryStore
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT

SAGA = "order-fulfilment"
NEWER = replace(ORDER_FULFILMENT, version=2, deadline=timedelta(hours=3))


@pytest.fixture
def both(counterpoint: Any, tmp_path: Path) -> Any:
    """A build with two versions, both recorded."""
    found = counterpoint.changed(sagas=(ORDER_FULFILMENT, NEWER), fingerprints=tmp_path / "fingerprints.json")
    assert found("versions", "--write").stdout == "fingerprints.json: 2 fingerprints written\n"
    return found


def stamped(version: int, offset: int = 0) -> IncomingRecord:
    headers = ((SAGA_HEADER, SAGA.encode()), (VERSION_HEADER, str(version).encode()))
    return IncomingRecord(INBOX, 0, offset, 0, b"order-fulfilment:o9", b"{}", headers)


def test_the_list_counts_what_runs_and_what_is_kept(both: Any, world: Any) -> None:
    world.running("o1")
    world.stuck_undo("o2")
    world.compensated("o3")
    first, second = both.json("versions")
    assert first | {"fingerprint": ""} == {
        "saga": SAGA,
        "version": 1,
        "newest": False,
        "in_build": True,
        "unfinished": 2,
        "phases": {"compensated": 1, "running": 1, "stuck": 1},
        "fingerprint": "",
        "record": "same",
    }
    assert (second["version"], second["newest"], second["unfinished"]) == (2, True, 0)
    assert first["fingerprint"] != second["fingerprint"]
    text = both("versions", SAGA).stdout
    assert "newest" in text and first["fingerprint"][:12] in text
    assert both("versions", "moon-landing").exit_code == 3


def test_a_version_that_runs_but_is_not_in_the_build_is_shown(both: Any, world: Any) -> None:
    world.running("o1")
    newer_only = both.changed(sagas=(NEWER,))
    first, _ = newer_only.json("versions")
    assert (first["version"], first["in_build"], first["unfinished"], first["record"]) == (1, False, 1, "same")
    assert "not in this build" in newer_only("versions").stdout


def test_a_version_that_still_runs_is_not_dropped(both: Any, world: Any) -> None:
    world.running("o1")
    result = both("versions", "drop", SAGA, "1", "--check")
    assert result.exit_code == 1
    assert "1 processes are running" in result.stderr


def test_a_version_with_inputs_in_the_retained_inbox_is_not_dropped(both: Any, world: Any) -> None:
    world.connections.inputs = [stamped(2), stamped(1, 1), stamped(1, 2), stamped(11, 3)]
    result = both("versions", "drop", SAGA, "1", "--check", "--json")
    assert (result.exit_code, json.loads(result.stdout)["retained_inputs"]) == (1, 2)
    assert "2 inputs in the retained inbox" in result.stderr
    bounded = both("versions", "drop", SAGA, "1", "--check", "--limit", "3")
    assert bounded.exit_code == 1 and "--limit 4 reads them all" in bounded.stderr


def test_a_version_of_which_nothing_is_left_may_be_dropped(both: Any, world: Any) -> None:
    world.connections.inputs = [stamped(2)]
    assert both.json("versions", "drop", SAGA, "1", "--check")["droppable"] is True
    assert "may be dropped" in both("versions", "drop", SAGA, "1", "--check").stdout


def test_a_version_of_which_ended_processes_are_kept_is_not_dropped(both: Any, world: Any) -> None:
    world.compensated("o3")
    result = both("versions", "drop", SAGA, "1", "--check", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ended"]) == (1, 1)
    assert "1 ended processes of it are kept: a late answer" in result.stderr


def test_what_a_late_success_of_an_ended_process_does_without_its_version(both: Any, world: Any) -> None:
    """Why ended processes count: their late successes are undone, which only their version can say how."""
    process = world.compensated("o3")
    world.book = SagaBook([NEWER])
    captured = PaymentCaptured(order_id="o3", payment_id="p1", amount_cents=300, currency="USD")
    with pytest.raises(UnknownVersion):
        world.answer(process, "charge/1", captured)


def test_a_version_from_which_or_to_which_retained_requests_move_is_not_dropped(both: Any, world: Any) -> None:
    asked = MigrationRequested(
        process_id="order-fulfilment:o9", from_version=1, to_version=2, revision=3, operator="ada"
    )
    sent = input_record(asked, "m1")
    world.connections.inputs = [IncomingRecord(INBOX, 0, 7, 0, sent.key, sent.value, sent.headers)]
    result = both("versions", "drop", SAGA, "1", "--check")
    assert result.exit_code == 1 and "1 inputs in the retained inbox" in result.stderr


def test_the_newest_version_is_not_dropped_and_only_a_check_is_made(both: Any) -> None:
    newest = both("versions", "drop", SAGA, "2", "--check")
    assert newest.exit_code == 1 and "it is the newest version" in newest.stderr
    assert both("versions", "drop", SAGA, "1").exit_code == 2
    assert both("versions", "drop", SAGA, "7", "--check").exit_code == 3


def test_a_changed_version_is_not_recorded_anew_unless_it_never_ran(both: Any) -> None:
    changed = both.changed(sagas=(replace(ORDER_FULFILMENT, deadline=timedelta(hours=5)),))
    assert [one["record"] for one in changed.json("versions")] == ["changed"]
    found = changed("verify")
    assert found.exit_code == 1 and "changed-without-version" in found.stdout
    refused = changed("versions", "--write")
    assert refused.exit_code == 1 and "changed-without-version" in refused.stderr
    assert changed.json("versions", "--write", "--replace")["written"] == 1
    assert changed("verify").exit_code == 0
    assert changed("versions", "--replace").exit_code == 2


async def test_the_read_model_counts_by_version(world: Any) -> None:
    one = world.connections.states[world.running("o1")]
    two = msgspec.structs.replace(one, id="order-fulfilment:o1b", version=2)
    done = world.connections.states[world.compensated("o2")]
    store = MemoryStore()
    for number, process in enumerate((one, two, done)):
        shard = partition_of(process.id, SHARDS)
        position = ShardPosition(number + 1, "", f"c{number}", 1)
        write = process_write(None, process, encode_process(process), ())
        await store.write([Checkpoint(shard, None, position, (write,), (SAGA,), 1)])
    counts = await ReadModel(store).versions()
    assert dict(counts) == {(SAGA, 1, "running"): 1, (SAGA, 2, "running"): 1, (SAGA, 1, "compensated"): 1}
    assert await ReadModel(store).versions(["restock"]) == {}
