"""Processor time of the services' side of a durable step: `python -m benchmarks.services_bench`.

Inventory, payment and shipping in one OS process, on a Kafka and a Redis of their own; the commands of the order flow
are made beforehand and appended at once, and nobody reads the answers. So a change of the SDK or of a service is
measured alone. Processor time is from `/proc/<pid>/stat`; one line a round, the first is the warm-up.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.peers.flow import steps_of
from benchmarks.processor_time import snapshot, used_between
from benchmarks.raw import new_producer, partitions_of, prepared
from benchmarks.service_commands import commands_of
from contracts.record import OutgoingRecord
from deploy.local.site import INFRASTRUCTURE
from deploy.local.stack import Stack
from deploy.local.state import Settings
from services.registry import REGISTRY
from services.sdk.batches_kafka import send_batches

SERVICES = ("inventory", "payment", "shipping")
PARTS = ("kafka", "redis-services", "inventory")
LOOK_EVERY_S = 0.2
SECONDS_MAX = 600.0


def main(
    orders: Annotated[int, typer.Option(min=100, help="Orders of a round.")] = 5_000,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds, the warm-up included.")] = 5,
    data: Annotated[Path, typer.Option(help="Folder of a stack of its own; erased first.")] = Path(
        ".local/services-bench"
    ),
    program: Annotated[str, typer.Option(help="What hosts the services instead of `-m services`.")] = "-m services",
) -> None:
    """Print microseconds of processor time of each part for one durable step."""
    stack = Stack(data, services=("inventory",), settings=_settings(program))
    stack.down()
    stack.erase()
    endpoints = stack.up(only=(*INFRASTRUCTURE, "inventory"))
    pids = {name: endpoints.processes[name].pid for name in PARTS}
    try:
        for number in range(rounds):
            records = _commands(orders)
            before, began = snapshot(pids), time.monotonic()
            uvloop.run(_round(endpoints.kafka, records))
            seconds = time.monotonic() - began
            used = used_between(before, snapshot(pids))
            parts = "  ".join(f"{name} {used[name] / steps_of(orders) * 1e6:.1f}" for name in PARTS)
            typer.echo(f"round {number}: {parts} us a step, {steps_of(orders) / seconds:,.0f} steps/s")
    finally:
        stack.down()


def _settings(program: str) -> Settings:
    options = ("--option", "providers=instant", "--option", "opening_stock=local")
    return Settings(
        commands={"inventory": (sys.executable, *program.split(), *SERVICES)}, arguments={"inventory": options}
    )


def _commands(orders: int) -> list[OutgoingRecord]:
    """Those that the saga sends together stand together."""
    run = f"load{secrets.token_hex(3)}"
    each = [tuple(commands_of(number, run)) for number in range(orders)]
    together = 256
    found: list[OutgoingRecord] = []
    for first in range(0, orders, together):
        some = each[first : first + together]
        found += [record for one in some for record in one[:3]]
        found += [record for one in some for record in one[3:]]
    return found


async def _round(kafka: str, records: Sequence[OutgoingRecord]) -> None:
    """Returns once all groups have committed all that was appended for them. Raises TimeoutError."""
    producer = new_producer(kafka)
    await producer.start()
    batches = prepared(records, producer.create_batch)
    try:
        await send_batches(producer, batches)
    finally:
        await producer.stop()
    async with asyncio.timeout(SECONDS_MAX):
        await _finished(kafka)


async def _finished(kafka: str) -> None:
    """Twice in a row, since a command's outcome may be another service's event."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await admin.start()
    await consumer.start()
    try:
        quiet = 0
        while quiet < 2:
            await asyncio.sleep(LOOK_EVERY_S)
            behind = sum([await _behind(admin, consumer, name) for name in SERVICES])
            quiet = 0 if behind else quiet + 1
    finally:
        await consumer.stop()
        await admin.close()


async def _behind(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, service: str) -> int:
    committed = await admin.list_consumer_group_offsets(f"counterpoint.{service}")
    topics = [topic for topic in REGISTRY[service].service.topics if not topic.endswith(".replays")]
    ends = await consumer.end_offsets(partitions_of(topics))
    return sum(end - (committed[place].offset if place in committed else 0) for place, end in ends.items())


if __name__ == "__main__":
    typer.run(main)
