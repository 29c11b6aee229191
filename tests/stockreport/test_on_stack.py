"""The local stack's own scheduler and stock report, as `make up` starts them: a run on request gives one report."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.envelope import Envelope, encode_headers
from contracts.inventory import StockChanged, StockReport, StockTotal
from deploy.local.stack import Stack
from operations.endpoints import Endpoints
from tests.gates.repository import ROOT

pytestmark = pytest.mark.stack
LIMIT_S = 120.0
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("report"))
    try:
        made.up(only=("kafka", "redis-orchestrator", "redis-services", "scheduler", "stock-report"))
        yield made
    finally:
        made.down()


def scheduler(endpoints: Path, *words: str) -> object:
    command = [sys.executable, "-m", "services.scheduler", *words, "--endpoints", str(endpoints), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def publish(endpoints: Endpoints, events: list[StockChanged]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=endpoints.kafka)
    await producer.start()
    try:
        for number, event in enumerate(events):
            headers = list(encode_headers(Envelope(id=f"e{number}", source="/test", type=event.type)))
            await producer.send_and_wait(event.topic, key=event.key.encode(), value=event.to_json(), headers=headers)
    finally:
        await producer.stop()


async def reported(endpoints: Endpoints, wanted: tuple[StockTotal, ...], ask: object) -> list[StockReport]:
    """All reports until one has the `wanted` totals; every other second another is asked for."""
    consumer = AIOKafkaConsumer(
        "inventory.events", bootstrap_servers=endpoints.kafka, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    found: list[StockReport] = []
    try:
        async with asyncio.timeout(LIMIT_S):
            while not found or found[-1].totals != wanted:
                ask()  # type: ignore[operator]
                for batch in (await consumer.getmany(timeout_ms=2_000)).values():
                    for record in batch:
                        if dict(record.headers)["ce_type"] == StockReport.type.encode():
                            found.append(StockReport.model_validate_json(record.value))
    finally:
        await consumer.stop()
    return found


async def test_a_run_on_request_gives_the_report(stack: Stack) -> None:
    endpoints = stack.endpoints
    (row,) = scheduler(stack.site.endpoints, "list")["schedules"]  # type: ignore[index]
    assert (row["id"], row["state"]) == ("nightly-stock-report", "active")
    levels = [
        ("milk", "east", 10, 1, 1),
        ("milk", "west", 5, 0, 1),
        ("milk", "east", 8, 3, 2),
        ("bread", "east", 7, 2, 1),
    ]
    await publish(
        endpoints,
        [
            StockChanged(sku=sku, warehouse=place, on_hand=free, reserved=held, revision=number, changed_at=AT)
            for sku, place, free, held, number in levels
        ],
    )
    wanted = (StockTotal(sku="bread", on_hand=7, reserved=2), StockTotal(sku="milk", on_hand=13, reserved=3))
    asked: list[object] = []
    found = await reported(
        endpoints,
        wanted,
        lambda: asked.append(scheduler(stack.site.endpoints, "run-now", "nightly-stock-report")),
    )
    assert {report.schedule_id for report in found} == {"nightly-stock-report"}
    assert len({report.due_at for report in found}) == len(found) <= len(asked)
