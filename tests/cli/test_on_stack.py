"""The command line against a real Kafka (and Redis): what memory cannot show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.catalog import standard_catalog
from contracts.topics import INBOX, MESSAGE_BYTES_MAX, SHARDS
from deploy.local.site import INFRASTRUCTURE
from deploy.local.stack import Stack
from deploy.local.state import Settings
from orchestrator.cli.app import build_app
from orchestrator.cli.connections_real import RealConnections
from orchestrator.cli.inbox_kafka import open_retained
from orchestrator.cli.surroundings import Surroundings
from orchestrator.runtime.groups import ENGINE_GROUP
from tests.cli.conftest import ORDER
from tests.cli.waiting_program import WAITING

pytestmark = pytest.mark.stack
ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = Stack(tmp_path_factory.mktemp("stack"), settings=Settings(topics=()))
    found.up(only=INFRASTRUCTURE[:3])
    try:
        yield found
    finally:
        found.down()


def counterpoint(stack: Stack, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"COUNTERPOINT_ENDPOINTS": str(stack.site.endpoints)}
    command = [sys.executable, "-m", "orchestrator.cli", *words]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, env=environment, cwd=ROOT, check=False)


def as_json(stack: Stack, *words: str, stdin: bytes = b"") -> Any:
    result = counterpoint(stack, *words, "--json", stdin=stdin)
    assert result.returncode == 0, result.stderr.decode()
    return json.loads(result.stdout)


def send(stack: Stack, topic: str, key: bytes, value: bytes, headers: dict[str, str]) -> tuple[int, int]:
    """As a foreign client does. Partition and offset."""
    from confluent_kafka import Producer

    placed: list[tuple[int, int]] = []
    producer = Producer({"bootstrap.servers": stack.endpoints.kafka})
    producer.produce(
        topic,
        key=key,
        value=value,
        headers=list(headers.items()),
        on_delivery=lambda error, message: placed.append((message.partition(), message.offset())),
    )
    producer.flush(10)
    return placed[0]


def engine_offsets(stack: Stack) -> set[int]:
    """Committed offsets of the engine's group, over all shards."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": stack.endpoints.kafka, "group.id": ENGINE_GROUP})
    try:
        found = consumer.committed([TopicPartition(INBOX, shard) for shard in range(SHARDS)], timeout=10)
        return {one.offset for one in found}
    finally:
        consumer.close()


def test_topics_publish_and_dead_letters(stack: Stack) -> None:
    planned = as_json(stack, "topics", "apply", "--dry-run")
    assert "orchestrator.inbox" in planned["would_create"]
    assert as_json(stack, "topics", "apply")["created"] == planned["would_create"]
    again = as_json(stack, "topics", "apply")
    assert (again["created"], again["problems"]) == ([], [])
    assert engine_offsets(stack) == {0}, "a signal before the first orchestrator must not look like a loss"

    row = as_json(stack, "publish", "orders.placed.v1", "-", "--id", "m1", stdin=ORDER.to_json())
    assert (row["topic"], row["key"], row["offset"]) == ("orders.events", "o1", 0)
    large = ORDER.to_json()[:-1] + b', "padding": "' + b"x" * MESSAGE_BYTES_MAX + b'"}'
    refused = counterpoint(stack, "publish", "orders.placed.v1", "-", stdin=large)
    assert refused.returncode == 1
    assert b"but the broker takes 1,048,576 (1 MiB)" in refused.stderr

    assert as_json(stack, "dead-letters", "list") == []
    headers = {"ce_type": "orders.placed.v1", "dl_reason": "invalid-json", "dl_topic": "orders.events"}
    for number in range(30):
        send(stack, "payment.dead-letters", b"k%d" % number, b"{", headers)
    partition, offset = send(stack, "orchestrator.dead-letters", b"last", b"\xff", headers)
    rows = as_json(stack, "dead-letters", "list")
    assert len(rows) == 31
    assert (rows[0]["key"], rows[0]["service"]) == ("last", "orchestrator")
    assert as_json(stack, "dead-letters", "list", "--limit", "3")[0]["key"] == "last"
    shown = as_json(stack, "dead-letters", "show", f"orchestrator.dead-letters-{partition}-{offset}")
    assert (shown["value"], shown["value_encoding"]) == ("/w==", "base64")
    missing = counterpoint(stack, "dead-letters", "show", f"orchestrator.dead-letters-{partition}-{offset + 1}")
    assert missing.returncode == 3


def test_an_empty_stack_has_no_processes(stack: Stack) -> None:
    assert as_json(stack, "list") == []
    assert counterpoint(stack, "show", "order-fulfilment:nobody").returncode == 3


def test_a_stopped_kafka_is_exit_code_4(tmp_path: Path, stack: Stack) -> None:
    endpoints = json.loads(stack.site.endpoints.read_text()) | {"kafka": "127.0.0.1:1"}
    file = tmp_path / "away.json"
    file.write_text(json.dumps(endpoints))
    result = counterpoint(stack, "dead-letters", "list", "--endpoints", str(file))
    assert result.returncode == 4
    assert b"Kafka is away" in result.stderr


# What people say to processes that wait, heard by an orchestrator of its own.


@dataclass(frozen=True, slots=True)
class Person:
    """At the command line of the build that runs the waiting saga; in this OS process, over the real connections."""

    around: Surroundings

    def __call__(self, *words: str, stdin: str = "") -> Any:
        return CliRunner().invoke(build_app(), list(words), obj=self.around, input=stdin)

    def says(self, *words: str, stdin: str = "") -> Any:
        """The JSON answer of a command that succeeds."""
        result = self(*words, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def starts(self, order_id: str) -> str:
        """A process that waits for its signal."""
        order = ORDER.model_copy(update={"order_id": order_id})
        self.says("publish", order.type, "-", stdin=order.to_json().decode())
        process, until = f"waiting:{order_id}", time.monotonic() + SECONDS_MAX
        while self("show", process).exit_code != 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        return process


@pytest.fixture(scope="module")
def person(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    command = [sys.executable, "-m", "tests.cli.waiting_program", "--endpoints", str(stack.site.endpoints)]
    numbers = iter(range(1_000))
    around = Surroundings(
        environment={"COUNTERPOINT_ENDPOINTS": str(stack.site.endpoints)},
        folder=ROOT,
        operator="ann",
        interactive=False,
        now_ms=lambda: time.time_ns() // 1_000_000,
        new_id=lambda: f"waiting-{next(numbers)}",
        connections=RealConnections(),
        sagas=(WAITING,),
        catalog=standard_catalog(),
    )
    Person(around).says("topics", "apply")
    log = (tmp_path_factory.mktemp("waiting") / "orchestrator.log").open("wb")
    program = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        found = Person(around)
        found.starts("w0")  # it runs: nothing may be in its inbox before its very first start
        yield found
    finally:
        program.terminate()
        assert program.wait(SECONDS_MAX) == 0
        log.close()


def test_signal_and_approve_take_a_waiting_process_to_its_end(person: Person) -> None:
    early = person.says("signal", "waiting:w1", "released", "-", "--wait", "60", stdin='{"by": "ann"}')
    assert (early["result"], early["phase"]) == ("buffered", "early")
    process = person.starts("w1")
    unfit = person("approve", process, "sign_off", "--form", "-", stdin='{"limit_cents": "much"}')
    assert (unfit.exit_code, "the form does not fit" in unfit.stderr) == (1, True)
    answer = person.says(
        "approve", process, "sign_off", "--form", "-", "--operator", "grace", stdin='{"limit_cents": 7}'
    )
    assert (answer["result"], answer["phase"], answer["by"]) == ("applied", "completed", "grace")
    (told,) = (one for one in answer["entry"]["effects"] if one["type"] == "orders.fulfilled.v1")
    assert told["data"]["tracking_number"] == "ann-7"
    again = person("approve", process, "sign_off", "--form", "-", stdin='{"limit_cents": 7}')
    assert (again.exit_code, "does not wait for sign_off" in again.stderr) == (1, True)
    story = person("show", process).stdout
    assert "ann signals released" in story and "grace says: approve sign_off" in story


def test_reject_undoes_it_and_a_signal_reaches_the_block_that_waits(person: Person) -> None:
    process = person.starts("w2")
    early = person("reject", process, "sign_off")
    assert (early.exit_code, "does not wait for sign_off" in early.stderr) == (1, True)
    signalled = person.says("signal", process, "released", "-", stdin='{"by": "bob"}')
    assert (signalled["result"], signalled["phase"]) == ("applied", "running")
    rejected = person.says("reject", process, "sign_off")
    assert (rejected["result"], rejected["phase"]) == ("applied", "compensated")
    assert [row["phase"] for row in person.says("list", "--saga", "waiting") if row["process_id"] == process] == [
        "compensated"
    ]


def test_cancel_calls_it_off_once(person: Person) -> None:
    process = person.starts("w3")
    answer = person.says("cancel", process, "--note", "bought elsewhere")
    assert (answer["result"], answer["phase"]) == ("applied", "cancelled")
    told = [one["data"] for one in answer["entry"]["effects"] if one["type"] == "orders.cancelled.v1"]
    assert [one["reason"] for one in told] == ["operator"]
    again = person("cancel", process)
    assert (again.exit_code, "there is nothing to call off" in again.stderr) == (1, True)
    assert "bought elsewhere" in json.dumps(person.says("show", process))


def test_without_waiting_it_is_only_in_the_log(person: Person) -> None:
    process = person.starts("w4")
    assert person.says("cancel", process, "--no-wait")["result"] == "appended"
    until = time.monotonic() + SECONDS_MAX
    while person.says("show", process)["phase"] != "cancelled":
        assert time.monotonic() < until


# The inbox itself. Comes last: what it appends is no input, and would be there before the engine's first start.


async def test_the_retained_inbox_is_read_to_its_end_and_no_further(stack: Stack) -> None:
    as_json(stack, "topics", "apply")
    async with open_retained(stack.endpoints.kafka) as empty:
        before = empty.size()
    for number in range(300):
        version = str(1 + number % 2)
        send(stack, "orchestrator.inbox", b"s:%d" % number, b"{}", {"cp_saga": "s", "cp_version": version})
    async with open_retained(stack.endpoints.kafka) as inbox:
        send(stack, "orchestrator.inbox", b"s:late", b"{}", {"cp_saga": "s", "cp_version": "1"})
        records = [record async for batch in inbox.batches() for record in batch]
        assert (inbox.size(), len(records)) == (before + 300, before + 300)
    assert sum(("cp_version", b"2") in record.headers for record in records) == 150
    listed = as_json(stack, "versions", "order-fulfilment")
    assert [(row["saga"], row["unfinished"], row["record"]) for row in listed] == [("order-fulfilment", 0, "same")]
