"""Processor time of the SDK's own work for one command: `python -m benchmarks.pipeline_bench`. Needs nothing running.

Inbox and bus answer at once and do nothing, so that what is left is decoding, middleware, tasks and encoding. The
best of several rounds of `time.process_time`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from time import process_time

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.codec_bench import AT_MS, TRACE
from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.message import Command
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.shipping import CreateLabel
from contracts.topics import DOMAIN_PARTITIONS
from operations.collector import settle_collector
from services.sdk.metrics import Metrics, ServiceMetrics
from services.sdk.patience import Patience
from services.sdk.ports import Answer, Exchange, Found, Place, Reply, Subscription
from services.sdk.surroundings import Surroundings, system_surroundings
from services.sdk.tenure import Tenure
from services.sdk.wiring import Wiring
from services.shipping.carrier_memory import MemoryCarrier
from services.shipping.handlers import service

ROUNDS = 7
BATCHES = 20
BATCH = 500
"""Records of one poll."""


class IdleInbox:
    """Has never seen anything, and keeps nothing."""

    async def check(self) -> Sequence[str]:
        return ()

    async def positions(self) -> dict[Place, int]:
        return {}

    async def take(self, owner: str, session: str, positions: Mapping[Place, int]) -> None: ...

    async def exchange(self, owner: str, session: str, exchange: Exchange) -> Reply:
        await asyncio.sleep(0)
        answers = tuple(Answer(Found.NEW, claim.fence) for claim in exchange.claims)
        return Reply((True,) * len(exchange.settlements), answers)


class IdleBus:
    """Acknowledges at once."""

    def __init__(self) -> None:
        self.published = 0

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        self.published += len(records)
        await asyncio.sleep(0)

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        return {}

    def subscription(self, group: str, member: str, topics: Sequence[str]) -> Subscription:
        raise NotImplementedError("records are offered by hand")


def incoming(number: int, offset: int) -> IncomingRecord:
    """A command of the order saga, as the orchestrator sends it."""
    order = f"load-{number}"
    address = {"name": "A", "street": "1 Long Road", "city": "Springfield", "postal_code": "12345", "country": "US"}
    command: Command = CreateLabel.model_validate(
        {"order_id": order, "ship_to": address, "lines": [{"sku": "p1", "quantity": 2}]}
    )
    process = f"order-fulfilment:{order}"
    envelope = Envelope(
        id=f"{process}/create_label/1", source="/counterpoint/orchestrator", type=command.type, process_id=process,
        idempotency_key=f"{process}/create_label/1", deadline="2099-01-01T00:00:00.250Z", try_number=1,
        traceparent=TRACE,
    )  # fmt: skip
    partition = partition_of(order, DOMAIN_PARTITIONS)
    return IncomingRecord(
        command.topic, partition, offset, AT_MS, command.key.encode(), command.to_json(), encode_headers(envelope)
    )


async def measure() -> float:
    """Microseconds of processor time for one command."""
    clock = system_surroundings()
    around = Surroundings(lambda: AT_MS + 50, clock.monotonic_s, clock.sleep, clock.random, clock.token)
    metrics = ServiceMetrics(Metrics(CollectorRegistry()), "shipping", frozenset(service.handlers))
    bus, patience = IdleBus(), Patience("shipping", metrics, around)
    wiring = Wiring(service, (MemoryCarrier(around.now_ms),), IdleInbox(), bus, metrics, patience, around, "1")
    starts = {Place("shipping.commands", number): 0 for number in range(DOMAIN_PARTITIONS)}
    tenure = Tenure(wiring, "abcdef01", starts)
    offset, best = 0, float("inf")
    for _ in range(ROUNDS):
        batches = []
        for _ in range(BATCHES):
            batches.append([incoming(offset + number, offset + number) for number in range(BATCH)])
            offset += BATCH
        before, began = bus.published, process_time()
        for batch in batches:
            tenure.offer(batch)
            assert await tenure.drained(30)
        best = min(best, process_time() - began)
        assert bus.published - before == BATCHES * BATCH
    await tenure.drop()
    return best / (BATCHES * BATCH) * 1e6


def main() -> None:
    settle_collector()
    sys.stdout.write(f"SDK, one command: {uvloop.run(measure()):.1f} us\n")


if __name__ == "__main__":
    main()
