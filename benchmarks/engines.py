"""`python -m benchmarks.engines`: throughput with 1, 2 and 4 engine processes.

The 64 shards are spread over them by the group; the router is a process of its own, and so are the automations, all in
one. Providers answer at once. Every number of engines gets as many orders, at full speed. What is scarce on one machine
are its cores: processor time of a step says what more engines cost, steps a second what the machine carries.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.fleet import Stage
from benchmarks.flow import run_orders
from benchmarks.parts import DATA, REPORT, SECONDS_MAX, finish, us_per_step
from benchmarks.peers.flow import steps_of
from benchmarks.processor_time import snapshot, used_between

COUNTS = (1, 2, 4)
WARM_UP_ORDERS = 500
SETTLING_S = 3.0
"""After the group has given its shards away anew."""


def main(
    orders: Annotated[int, typer.Option(min=10, help="Orders for each number of engines.")] = 10_000,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Report that the result is put into.")] = REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure throughput and processor time with 1, 2 and 4 engines."""
    result = measure(data, orders)
    finish("engines", result, as_json, report, lines(result))


def measure(data: Path, orders: int) -> dict[str, Any]:
    """Raises TimeoutError: orders have not ended."""
    return asyncio.run(_measure(data, orders))


async def _measure(data: Path, orders: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    async with Stage(data) as stage:
        await stage.fleet.start("router", "router")
        await stage.fleet.start_services()
        running = 0
        for count in COUNTS:
            for number in range(running + 1, count + 1):
                stage.fleet.spawn(f"engine-{number}", "engine,clock")
            running = count
            await stage.fleet.ready()
            await asyncio.sleep(SETTLING_S)
            await stage.fleet.ready()
            await run_orders(stage.endpoints.kafka, WARM_UP_ORDERS, f"warm{count}", seconds_max=SECONDS_MAX)
            rows.append(await _row(stage, count, orders))
    return {"orders": orders, "rows": rows}


async def _row(stage: Stage, engines: int, orders: int) -> dict[str, Any]:
    before = snapshot(stage.fleet.pids)
    flow = await run_orders(stage.endpoints.kafka, orders, f"load{engines}", seconds_max=SECONDS_MAX)
    used = grouped(used_between(before, snapshot(stage.fleet.pids)))
    steps = steps_of(orders)
    return {
        "engines": engines,
        "steps_per_second": round(steps / flow.seconds),
        "processor_us_per_step": us_per_step(used, steps),
    }


def grouped(used: dict[str, float]) -> dict[str, float]:
    """All engines together, as `engines`."""
    found: dict[str, float] = {}
    for name, seconds in used.items():
        group = "engines" if name.startswith("engine-") else name
        found[group] = found.get(group, 0.0) + seconds
    return found


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    found = [f"engines, {result['orders']:,} orders each"]
    for row in result["rows"]:
        used = ", ".join(f"{name} {micros}" for name, micros in row["processor_us_per_step"].items())
        found.append(f"  {row['engines']} engines: {row['steps_per_second']:,} steps/s; us a step: {used}")
    return found


if __name__ == "__main__":
    typer.run(main)
