"""The command line against a real Kafka (and Redis): what memory cannot show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.topics import MESSAGE_BYTES_MAX
from deploy.local.site import INFRASTRUCTURE
from deploy.local.stack import Stack
from deploy.local.state import Settings
from orchestrator.cli.inbox_kafka import open_retained
from tests.cli.conftest import ORDER

pytestmark = pytest.mark.stack
ROOT = Path(__file__).parents[2]


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


def test_topics_publish_and_dead_letters(stack: Stack) -> None:
    planned = as_json(stack, "topics", "apply", "--dry-run")
    assert "orchestrator.inbox" in planned["would_create"]
    assert as_json(stack, "topics", "apply")["created"] == planned["would_create"]
    again = as_json(stack, "topics", "apply")
    assert (again["created"], again["problems"]) == ([], [])

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
    listed = as_json(stack, "versions")
    assert [(row["saga"], row["unfinished"], row["record"]) for row in listed] == [("order-fulfilment", 0, "same")]
