"""`python -m benchmarks.waiting_scale`: what a step costs while more and more processes wait beside it.

The processes that wait are written in bulk (`benchmarks.bulk_states`): each is an order that is reserved, charged,
labelled and asleep until 2100, in the bytes that the engine would have stored. For each size the engines are stopped,
the store is filled up to it, and the programs are started again; then orders go through at full speed.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.asyncio import Redis

from benchmarks.bulk_states import Template, fill_store, parked_template
from benchmarks.fleet import Stage
from benchmarks.flow import run_orders
from benchmarks.parts import DATA, REPORT, SECONDS_MAX, finish, us_per_step
from benchmarks.peers.flow import steps_of
from benchmarks.processor_time import snapshot, used_between
from orchestrator.runtime.store_redis import RedisStore

SIZES = "1000,100000"
WARM_UP_ORDERS = 300
IDLE_S = 5.0
REWRITE_SECONDS_MAX = 300.0
LOOK_S = 0.5
SETTLING_S = 3.0
"""Redis still moves keys between its growing tables, in the background."""


def main(
    sizes: Annotated[str, typer.Option(help="How many processes wait, ascending, joined by commas.")] = SIZES,
    orders: Annotated[int, typer.Option(min=10, help="Orders that go through beside them, for each size.")] = 5_000,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Report that the result is put into.")] = REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure the cost of a step, of start-up and of memory beside waiting processes."""
    try:
        wanted = sizes_of(sizes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    result = measure(data, wanted, orders)
    finish("waiting", result, as_json, report, lines(result))


def sizes_of(text: str) -> list[int]:
    """Raises ValueError: no ascending whole numbers."""
    found = [int(part) for part in text.split(",")]
    if not found or found != sorted(set(found)) or found[0] < 0:
        raise ValueError("--sizes takes ascending whole numbers, such as 1000,100000,1000000")
    return found


def measure(data: Path, sizes: list[int], orders: int) -> dict[str, Any]:
    """Raises TimeoutError: orders have not ended."""
    return asyncio.run(_measure(data, sizes, orders))


async def _measure(data: Path, sizes: list[int], orders: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    template = parked_template(time.time_ns() // 1_000_000)
    async with Stage(data) as stage:
        url = stage.endpoints.redis.orchestrator
        store, redis = RedisStore(url), Redis.from_url(url)
        try:
            await stage.fleet.start_services()
            there = 0
            for size in sizes:
                rows.append(await _row(stage, store, redis, template, range(there, size), orders))
                there = size
        finally:
            await store.close()
            await redis.aclose()
    return {"orders": orders, "rows": rows}


async def _row(
    stage: Stage, store: RedisStore, redis: Redis, template: Template, added: range, orders: int
) -> dict[str, Any]:
    before, began = await _memory(redis), time.monotonic()
    await fill_store(store, template, added)
    filled_s = time.monotonic() - began
    await asyncio.sleep(SETTLING_S)
    memory = await _memory(redis) - before
    await _rewritten(redis)
    started_s = await stage.fleet.start("router", "router")
    claimed_s = await stage.fleet.start("engine-1", "engine,clock")
    run, steps, kafka = f"beside{added.stop}", steps_of(orders), stage.endpoints.kafka
    await run_orders(kafka, WARM_UP_ORDERS, f"warm{added.stop}", seconds_max=SECONDS_MAX)
    resting = snapshot(stage.fleet.pids)
    await asyncio.sleep(IDLE_S)
    idle = used_between(resting, snapshot(stage.fleet.pids))
    busy = snapshot(stage.fleet.pids)
    flow = await run_orders(kafka, orders, run, seconds_max=SECONDS_MAX)
    used = used_between(busy, snapshot(stage.fleet.pids))
    await stage.fleet.end("router", "engine-1")
    return {
        "waiting": added.stop,
        "fill_seconds": round(filled_s, 1),
        "bytes_each": round(memory / max(len(added), 1)),
        "start_seconds": {"router": round(started_s, 2), "engine": round(claimed_s, 2)},
        "steps_per_second": round(steps / flow.seconds),
        "processor_us_per_step": us_per_step(used, steps),
        "idle_ms_per_second": {name: round(seconds / IDLE_S * 1000, 1) for name, seconds in idle.items()},
    }


async def _memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def _rewritten(redis: Redis) -> None:
    """Wait until Redis has rewritten its file: a child of it would be measured as well. Raises TimeoutError."""
    async with asyncio.timeout(REWRITE_SECONDS_MAX):
        while (await redis.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(LOOK_S)


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    found = [f"waiting processes, {result['orders']:,} orders beside them"]
    for row in result["rows"]:
        used = ", ".join(f"{name} {micros}" for name, micros in row["processor_us_per_step"].items())
        found.append(
            f"  {row['waiting']:>9,} wait: {row['bytes_each']:,} bytes each, engine starts in"
            f" {row['start_seconds']['engine']} s, {row['steps_per_second']:,} steps/s; us a step: {used}"
        )
    return found


if __name__ == "__main__":
    typer.run(main)
