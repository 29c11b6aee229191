"""`python -m benchmarks.audit_share`: what the background audit takes of an engine's processor and throughput.

The same engine on the same store, with the audit and without it, in turns. With many processes that wait, a round of
the audit lasts longer than the benchmark: it is at work all the time. Its share of one processor is seen at rest, where
nothing else is done; beside orders at full speed it is lost among other differences, unless it is large.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.bulk_states import fill_store, parked_template
from benchmarks.fleet import Stage
from benchmarks.flow import run_orders
from benchmarks.parts import DATA, REPORT, SECONDS_MAX, finish
from benchmarks.peers.flow import steps_of
from benchmarks.processor_time import snapshot, used_between
from orchestrator.runtime.auditor import SHARE
from orchestrator.runtime.store_redis import RedisStore

TARGET = 0.02
WARM_UP_ORDERS = 300
MODES = {"with": str(SHARE), "without": "0"}
COSTED = ("engine-1", "redis-orchestrator")
"""Whose time the audit takes."""


def main(
    live: Annotated[int, typer.Option(min=0, help="Processes that wait, and are looked at.")] = 50_000,
    orders: Annotated[int, typer.Option(min=10, help="Orders of one turn.")] = 4_000,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each kind.")] = 2,
    idle_seconds: Annotated[float, typer.Option(min=1, help="Of rest in each turn.")] = 10.0,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Report that the result is put into.")] = REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure throughput and processor time with and without the background audit."""
    result = measure(data, live, orders, turns, idle_seconds)
    finish("audit", result, as_json, report, lines(result))


def measure(data: Path, live: int, orders: int, turns: int = 2, idle_seconds: float = 10.0) -> dict[str, Any]:
    """Raises TimeoutError: orders have not ended."""
    return asyncio.run(_measure(data, live, orders, turns, idle_seconds))


async def _measure(data: Path, live: int, orders: int, turns: int, idle_seconds: float) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    async with Stage(data) as stage:
        store = RedisStore(stage.endpoints.redis.orchestrator)
        try:
            await fill_store(store, parked_template(time.time_ns() // 1_000_000), range(live))
        finally:
            await store.close()
        await stage.fleet.start("router", "router")
        await stage.fleet.start_services()
        for turn in range(turns):
            for mode in MODES if turn % 2 == 0 else reversed(MODES):
                found[mode].append(await _turn(stage, mode, f"{mode}{turn}", orders, idle_seconds))
    return {"live": live, "orders": orders, "turns": turns, "target": TARGET} | summary(found)


async def _turn(stage: Stage, mode: str, run: str, orders: int, idle_seconds: float) -> dict[str, float]:
    kafka, fleet = stage.endpoints.kafka, stage.fleet
    await fleet.start("engine-1", "engine,clock", "--audit-share", MODES[mode])
    await run_orders(kafka, WARM_UP_ORDERS, f"warm{run}", seconds_max=SECONDS_MAX)
    resting = snapshot(fleet.pids)
    await asyncio.sleep(idle_seconds)
    idle = used_between(resting, snapshot(fleet.pids))
    busy = snapshot(fleet.pids)
    flow = await run_orders(kafka, orders, run, seconds_max=SECONDS_MAX)
    used = used_between(busy, snapshot(fleet.pids))
    await fleet.end("engine-1")
    steps = steps_of(orders)
    return {
        "steps_per_second": round(steps / flow.seconds),
        "us_per_step": round(sum(used[name] for name in COSTED) / steps * 1e6, 1),
        "idle_share": round(sum(idle[name] for name in COSTED) / idle_seconds, 4),
    }


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of both kinds, and what the audit takes: of one processor at rest, and of a step's time. Pure."""
    middle = {
        mode: {name: round(median(turn[name] for turn in turns), 4) for name in turns[0]}
        for mode, turns in found.items()
    }
    with_it, without = middle["with"], middle["without"]
    return middle | {
        "share_of_processor": round(with_it["idle_share"] - without["idle_share"], 4),
        "share_of_step": round(with_it["us_per_step"] / without["us_per_step"] - 1, 4),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    found = [f"audit, over {result['live']:,} live processes"]
    for mode in MODES:
        one = result[mode]
        found.append(
            f"  {mode:7} it: {one['steps_per_second']:,.0f} steps/s, {one['us_per_step']:.0f} us a step (engine and"
            f" Redis), at rest {one['idle_share']:.1%} of a processor"
        )
    found.append(
        f"  it takes {result['share_of_processor']:.1%} of a processor at rest (target below {result['target']:.0%}),"
        f" and makes a step dearer by {result['share_of_step']:.1%}"
    )
    return found


if __name__ == "__main__":
    typer.run(main)
