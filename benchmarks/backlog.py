"""`python -m benchmarks.backlog`: orders come in while no automation runs, and are worked off once they do.

With the automations stopped every order starts its process, and its first three commands pile up in the log. The
memory of the orchestrator's programs is sampled meanwhile: it must not grow with the pile. Then the automations are
started, and everything is worked off; at the end the log is read as a whole: every order has ended, nothing was done
twice. The engine notes how full its queues ever were (`benchmarks.watched_program`). Exits 1 if any of it is not so.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from aiokafka import AIOKafkaConsumer

from benchmarks.fleet import Stage
from benchmarks.orders import order_record
from benchmarks.parts import DATA, REPORT, SECONDS_MAX, finish
from benchmarks.peers.flow import steps_of
from benchmarks.raw import new_producer, partitions_of
from benchmarks.tally import ENDS, STARTED, Tally
from contracts.topics import LIFECYCLE
from deploy.demo.observer_kafka import incoming
from deploy.local.site import site_at

RUN = "pile"
PREFIX = f"order-fulfilment:{RUN}-"
TOPICS = tuple(
    f"{context}.{kind}" for context in ("inventory", "payment", "shipping") for kind in ("commands", "events")
)
PUBLISH_BATCH = 2_000
SAMPLE_S = 0.5
GROWTH_MB_MAX = 64.0
"""Of one program, between a tenth of the pile and all of it: what interpreters take that have seen a larger batch."""
PROGRAMS = {"router": "router", "engine-1": "engine,clock"}


def main(
    orders: Annotated[int, typer.Option(min=10, help="Orders that pile up.")] = 100_000,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Report that the result is put into.")] = REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Pile up orders without automations, then work them off; exit 1 if anything is missing, twice, or unbounded."""
    result = measure(data, orders)
    finish("backlog", result, as_json, report, lines(result))
    raise typer.Exit(1 if result["problems"] else 0)


def measure(data: Path, orders: int, limits: Mapping[str, int] | None = None) -> dict[str, Any]:
    """`limits`: smaller ones for the engine, by option of `benchmarks.watched_program` (`cache-processes`,
    `unstored-inputs`, `poll-records`). Raises TimeoutError: it goes on for too long."""
    return asyncio.run(_measure(data, orders, limits or {}))


async def _measure(data: Path, orders: int, limits: Mapping[str, int]) -> dict[str, Any]:
    peaks = site_at(data).data / "peaks.json"
    smaller = [word for name, value in limits.items() for word in (f"--{name}", str(value))]
    async with Stage(data, ("benchmarks.watched_program", "--peaks", str(peaks), *smaller)) as stage:
        for name, roles in PROGRAMS.items():
            await stage.fleet.start(name, roles)
        memory = Memory(stage)
        sampling = asyncio.create_task(memory.run())
        try:
            async with asyncio.timeout(SECONDS_MAX):
                piled_s = await _pile_up(stage, orders, memory)
                began = time.monotonic()
                await stage.fleet.start_services()
                await _until_seen(stage.endpoints.kafka, ENDS, orders)
                worked_s = time.monotonic() - began
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        # The router first, and so that the last to write the file is the engine.
        await stage.fleet.end("router")
        await stage.fleet.end("engine-1")
        queues = json.loads(peaks.read_text())
        tally = await _read_all(stage.endpoints.kafka)
    return {
        "orders": orders,
        "piled_seconds": round(piled_s, 1),
        "worked_off_seconds": round(worked_s, 1),
        "steps_per_second": round(steps_of(orders) / worked_s),
        "memory_mb": memory.summary(),
        "queues": queues,
        "commands": len(tally.commands),
        "sent_again": tally.sent_again,
        "problems": [*tally.problems(orders), *memory.problems(), *overfull(queues)],
    }


async def _pile_up(stage: Stage, orders: int, memory: Memory) -> float:
    """Publish the orders, and wait until every one has started; the seconds it took."""
    kafka, began = stage.endpoints.kafka, time.monotonic()
    seen = asyncio.create_task(_until_seen(kafka, (STARTED,), orders, memory))
    producer = new_producer(kafka)
    await producer.start()
    try:
        for first in range(0, orders, PUBLISH_BATCH):
            sent = []
            for number in range(first, min(first + PUBLISH_BATCH, orders)):
                one = order_record(number, RUN)
                sent.append(
                    await producer.send(one.topic, one.value, one.key, one.partition, headers=list(one.headers))
                )
            await asyncio.gather(*sent)
        await seen
    finally:
        seen.cancel()
        await producer.stop()
    return time.monotonic() - began


async def _until_seen(kafka: str, kinds: Sequence[str], orders: int, memory: Memory | None = None) -> None:
    """Wait until so many processes have come to one of the phases. Light: the whole log is read later."""
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    found: set[bytes] = set()
    wanted = {f"orchestrator.{kind}.v1".encode() for kind in kinds}
    try:
        partitions = partitions_of([LIFECYCLE])
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while len(found) < orders:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.update(r.key for r in records if any(n == "ce_type" and v in wanted for n, v in r.headers))
            if memory is not None:
                memory.done = len(found) / orders
    finally:
        await consumer.stop()


async def _read_all(kafka: str) -> Tally:
    """Everything that was said about the orders."""
    tally = Tally(PREFIX)
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = partitions_of([LIFECYCLE, *TOPICS])
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        left = {partition for partition in partitions if ends[partition] > 0}
        async with asyncio.timeout(SECONDS_MAX):
            while left:
                for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                    for record in records:
                        tally.take(incoming(record))
                    if records and records[-1].offset + 1 >= ends[partition]:
                        left.discard(partition)
    finally:
        await consumer.stop()
    return tally


@dataclass(frozen=True, slots=True)
class Sample:
    """`done`: the part of the pile that is there. `mb`: resident memory by program."""

    done: float
    mb: dict[str, float]


class Memory:
    """Samples the resident memory of the orchestrator's programs. `done` is set from outside."""

    def __init__(self, stage: Stage) -> None:
        self.samples: list[Sample] = []
        self.done = 0.0
        self._pids = {name: stage.fleet.pid(name) for name in PROGRAMS}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            mb = {name: _resident_mb(pid) for name, pid in self._pids.items()}
            self.samples.append(Sample(self.done, mb))
            await asyncio.sleep(SAMPLE_S)

    def summary(self) -> dict[str, dict[str, float]]:
        """By program, in MB: at the start, with a tenth and with all of the pile, and the most that was seen."""
        found = {}
        for name in PROGRAMS:
            peak = max(sample.mb[name] for sample in self.samples)
            found[name] = {"start": self.samples[0].mb[name], "tenth": self._at(name, 0.1), "all": self._at(name, 1.0)}
            found[name]["peak"] = peak
        return found

    def _at(self, name: str, done: float) -> float:
        """The most until so much was there."""
        return max(sample.mb[name] for number, sample in enumerate(self.samples) if number == 0 or sample.done <= done)

    def problems(self) -> list[str]:
        """Programs that grow with the pile."""
        grown = {name: one["peak"] - one["tenth"] for name, one in self.summary().items()}
        return [f"{name} has grown by {mb:.0f} MB with the pile" for name, mb in grown.items() if mb > GROWTH_MB_MAX]


def _resident_mb(pid: int) -> float:
    """0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = next((line for line in text.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0")
    return round(int(found.split()[1]) / 1024, 1)


def overfull(queues: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Queues that were ever longer than their limit. Pure."""
    return [
        f"{name} was {one['peak']} long, its limit is {one['limit']}"
        for name, one in queues.items()
        if one["peak"] > one["limit"]
    ]


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    found = [
        f"backlog of {result['orders']:,} orders: piled up in {result['piled_seconds']} s, worked off in"
        f" {result['worked_off_seconds']} s ({result['steps_per_second']:,} steps/s)",
        f"  {result['commands']:,} commands, {result['sent_again']:,} of them sent again after a silence",
    ]
    for name, mb in result["memory_mb"].items():
        grown = f"{mb['start']} MB at the start, {mb['tenth']} with a tenth, {mb['all']} with all, peak {mb['peak']}"
        found.append(f"  {name}: {grown}")
    for name, one in result["queues"].items():
        found.append(f"  {name}: at most {one['peak']:,} (limit {one['limit']:,})")
    found += [f"  WRONG: {problem}" for problem in result["problems"]]
    return found


if __name__ == "__main__":
    typer.run(main)
