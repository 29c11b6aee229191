"""Commands/s through the SDK on real Kafka and Redis, with handlers that answer at once; dedupe on.

    python -m benchmarks.sdk_bench --endpoints .local/endpoints.json --count 20000 --services 3

The commands are all there before the service starts; the clock runs from the first answer to the last. The stack, the
load and the service share this machine, so compare runs of one machine only. Needs topics of its own, which stay.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.catalog import Catalog
from contracts.envelope import Envelope, encode_headers
from contracts.message import Command, Event, Identifier
from contracts.record import OutgoingRecord
from contracts.technical import CommandFailed
from contracts.topics import DOMAIN_PARTITIONS
from operations.endpoints import Endpoints, read_endpoints
from operations.logs import configure_logs
from services.sdk import Service
from services.sdk.host import HostSettings, host
from services.sdk.kafka import KafkaBus
from services.sdk.start import needed_topics

LOAD_CHUNK = 2_000
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    service: Service
    command: type[Command]


def candidate(number: int) -> Candidate:
    """A service under a name that no earlier run used."""
    name = f"bench-{secrets.token_hex(3)}-{number}"

    class Done(Event, type=f"{name}.done.v1"):
        order_id: Identifier

    class Do(Command, type=f"{name}.do.v1", succeeds=Done):
        order_id: Identifier
        amount_cents: int

    async def do(command: Do) -> Done:
        return Done(order_id=command.order_id)

    # Annotations are strings here, and these classes are not global.
    do.__annotations__ = {"command": Do, "return": Done}
    service = Service(name, contexts=(name,), catalog=Catalog([Do, Done, CommandFailed]))
    service.handles(Do, unfinished="repeat")(do)
    return Candidate(service, Do)


async def load(bus: KafkaBus, candidates: list[Candidate], count: int) -> None:
    for start in range(0, count, LOAD_CHUNK):
        numbers = range(start, min(count, start + LOAD_CHUNK))
        await bus.publish([_command(one, number) for number in numbers for one in candidates])


def _command(one: Candidate, number: int) -> OutgoingRecord:
    message = one.command.model_validate({"order_id": f"o{number}", "amount_cents": number})
    identity = f"order-fulfilment:o{number}/do/1"
    envelope = Envelope(
        id=identity,
        source="/counterpoint/orchestrator",
        type=message.type,
        process_id=f"order-fulfilment:o{number}",
        idempotency_key=identity,
        deadline="2099-01-01T00:00:00Z",
        try_number=1,
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )
    return OutgoingRecord(message.topic, message.key.encode(), message.to_json(), encode_headers(envelope))


async def answered(kafka: str, candidates: list[Candidate], total: int) -> float:
    """Answers a second, from the first look that finds any to the one that finds all."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    try:
        places = [
            TopicPartition(f"{one.service.name}.events", number)
            for one in candidates
            for number in range(DOMAIN_PARTITIONS)
        ]
        first: tuple[float, int] | None = None
        while True:
            found = sum((await consumer.end_offsets(places)).values())
            if found and first is None:
                first = (time.monotonic(), found)
            if found >= total and first is not None:
                elapsed_s = max(time.monotonic() - first[0], 0.001)
                return float(found - first[1]) / elapsed_s
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await consumer.stop()


async def bench(endpoints: Endpoints, count: int, services: int, concurrency: int) -> float:
    candidates = [candidate(number) for number in range(services)]
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.kafka)
    await admin.start()
    names = [topic for one in candidates for topic in needed_topics(one.service)]
    settings = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(name, DOMAIN_PARTITIONS, 1, topic_configs=settings) for name in names])
    await admin.close()
    bus = KafkaBus(endpoints.kafka, "sdk-bench")
    await load(bus, candidates, count)
    await bus.close()
    options = {"concurrency": str(concurrency)}
    running = asyncio.create_task(
        host(
            [one.service for one in candidates],
            HostSettings(endpoints.kafka, endpoints.redis.services, 0, "bench", options),
        )
    )
    rate = await answered(endpoints.kafka, candidates, count * services)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    return rate


def main(
    endpoints: Annotated[Path, typer.Option(help="The stack's endpoints file.")] = Path(".local/endpoints.json"),
    count: Annotated[int, typer.Option(help="Commands for each service.")] = 20_000,
    services: Annotated[int, typer.Option(help="Services in this OS process.")] = 1,
    concurrency: Annotated[int, typer.Option(help="Messages at once, for each service.")] = 256,
) -> None:
    configure_logs("sdk-bench", "ERROR")
    # The client warns of each new topic that has no leader yet.
    logging.getLogger("aiokafka").setLevel("ERROR")
    processor_s = time.process_time()
    rate = uvloop.run(bench(read_endpoints(endpoints), count, services, concurrency))
    each_us = (time.process_time() - processor_s) * 1e6 / (count * services)
    typer.echo(f"{rate:,.0f} commands/s, {services} services, {each_us:.0f} us of CPU each, the load's included")


if __name__ == "__main__":
    typer.run(main)
