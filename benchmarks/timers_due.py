"""`python -m benchmarks.timers_due`: many timers that are due in the same second, and the orders that go on beside.

The processes are written in bulk (`benchmarks.bulk_states`), all asleep until one moment. Lateness is broker time: the
append of the timer's firing, and of the lifecycle event that its decision publishes, minus the moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bulk_states import fill_store, ring_template
from benchmarks.fleet import Stage
from benchmarks.flow import run_orders
from benchmarks.parts import DATA, REPORT, SECONDS_MAX, finish, percentiles
from contracts.envelope import EnvelopeError, decode_headers
from contracts.process import ProcessCompleted, TimerFired
from contracts.record import IncomingRecord
from contracts.topics import INBOX, LIFECYCLE
from deploy.demo.observer_kafka import Observer
from orchestrator.runtime.store_redis import RedisStore

RING_PREFIX = b"ring:"
RATE = 50
"""Orders a second beside them."""
BEFORE_S = 10.0
"""Of load before they are due; and so long the same load is measured without them."""
START_S = 30.0
"""Allowed for the programs to start."""
FILL_PER_S = 2_000
"""Processes that are surely written in a second: the moment is chosen before they are written."""
LOOK_S = 0.5
OBSERVER_S = 30.0


class TooLate(RuntimeError):
    """The machine was too slow: the moment came before the programs were ready."""


@dataclass(slots=True)
class Rung:
    """Mutable: `take` folds one record in. Append times in ms, of each process the first."""

    fired_ms: dict[bytes, int] = field(default_factory=dict)
    decided_ms: dict[bytes, int] = field(default_factory=dict)
    again: int = 0
    """Firings of a timer that was fired before."""

    def take(self, record: IncomingRecord) -> None:
        key = record.key or b""
        if not key.startswith(RING_PREFIX):
            return
        try:
            kind = decode_headers(record.headers).type
        except EnvelopeError:
            return
        if record.topic == INBOX and kind == TimerFired.type:
            self.again += key in self.fired_ms
            self.fired_ms.setdefault(key, record.timestamp_ms)
        elif record.topic == LIFECYCLE and kind == ProcessCompleted.type:
            self.decided_ms.setdefault(key, record.timestamp_ms)

    def lateness(self, due_ms: int) -> dict[str, dict[str, float]]:
        """Seconds, p50, p99 and the largest. Raises IndexError if nothing came."""
        return {
            "fired": _late_s(list(self.fired_ms.values()), due_ms),
            "decided": _late_s(list(self.decided_ms.values()), due_ms),
        }


def _late_s(times_ms: Sequence[int], due_ms: int) -> dict[str, float]:
    return {name: round(value, 3) for name, value in percentiles([(at - due_ms) / 1000 for at in times_ms]).items()}


def main(
    timers: Annotated[int, typer.Option(min=1, help="Timers that are due at the same moment.")] = 100_000,
    rate: Annotated[int, typer.Option(min=1, help="Orders a second beside them.")] = RATE,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Report that the result is put into.")] = REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure how late timers are that are due all at once. Exits 1 if the machine was too slow to be ready by then."""
    try:
        result = measure(data, timers, rate)
    except TooLate as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    finish("timers", result, as_json, report, lines(result))


def measure(data: Path, timers: int, rate: int = RATE) -> dict[str, Any]:
    """Raises TooLate; TimeoutError: a timer was never decided, or orders have not ended."""
    return asyncio.run(_measure(data, timers, rate))


async def _measure(data: Path, timers: int, rate: int) -> dict[str, Any]:
    async with Stage(data) as stage:
        kafka = stage.endpoints.kafka
        now_ms = time.time_ns() // 1_000_000
        due_ms = (now_ms // 1000 + round(timers / FILL_PER_S + START_S + 2 * BEFORE_S)) * 1000
        store = RedisStore(stage.endpoints.redis.orchestrator)
        try:
            await fill_store(store, ring_template(due_ms, now_ms), range(timers))
        finally:
            await store.close()
        await stage.fleet.start("router", "router")
        await stage.fleet.start_services()
        await stage.fleet.start("engine-1", "engine,clock")
        calm = await run_orders(kafka, round(rate * BEFORE_S), "calm", seconds_max=SECONDS_MAX, rate=rate)
        rung, lasted_s, took_ms = await _moment(stage, due_ms, timers, rate)
    return {
        "timers": timers,
        "orders_per_second": rate,
        "late_seconds": rung.lateness(due_ms),
        "all_decided_seconds": round(lasted_s, 1),
        "fired_again": rung.again,
        "process_ms": {"without": percentiles(calm.took_ms), "beside": percentiles(took_ms)},
    }


async def _moment(stage: Stage, due_ms: int, timers: int, rate: int) -> tuple[Rung, float, tuple[int, ...]]:
    """Orders until all is decided: what rang, how long it took, and how long the orders took."""
    kafka, rung, ready = stage.endpoints.kafka, Rung(), asyncio.Event()
    observer = asyncio.create_task(Observer(kafka, [INBOX, LIFECYCLE], rung.take).run(ready))
    try:
        await asyncio.wait_for(ready.wait(), OBSERVER_S)
        left_s = due_ms / 1000 - time.time()
        if left_s < 0:
            raise TooLate(f"{timers:,} timers were due {-left_s:.0f} s before the programs were ready; take fewer")
        await asyncio.sleep(max(0.0, left_s - BEFORE_S))
        took: list[int] = []
        number = 0
        async with asyncio.timeout(SECONDS_MAX):
            while number == 0 or len(rung.decided_ms) < timers:
                # In pieces, since nobody knows how long it will take.
                flow = await run_orders(
                    kafka, round(rate * BEFORE_S), f"beside{number}", seconds_max=SECONDS_MAX, rate=rate
                )
                took += flow.took_ms
                number += 1
                if observer.done():
                    observer.result()
        lasted_s = (max(rung.decided_ms.values()) - due_ms) / 1000
        return rung, lasted_s, tuple(took)
    finally:
        observer.cancel()
        await asyncio.gather(observer, return_exceptions=True)


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    late, took = result["late_seconds"], result["process_ms"]
    found = [f"{result['timers']:,} timers due at one moment, {result['orders_per_second']} orders/s beside them"]
    for name, one in late.items():
        found.append(f"  {name:8} late by p50 {one['p50']} s, p99 {one['p99']} s, at most {one['max']} s")
    for name, one in took.items():
        found.append(f"  an order {name} them takes p50 {one['p50']} ms, p99 {one['p99']} ms")
    found.append(f"  fired again: {result['fired_again']}")
    return found


if __name__ == "__main__":
    typer.run(main)
