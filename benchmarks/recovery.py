"""`python -m benchmarks.recovery`: how long a loss is felt, with many live processes in the store.

- **restarted**: `kill -9` of the only engine, started again at once under its name
- **taken_over**: `kill -9` of one of two engines; nobody starts it again
- **emptied**: the orchestrator's Redis is killed and comes back without any data; the engine has snapshots and inbox

Orders come in all the time. Seconds are broker time, from the kill (of an emptied Redis: from its answering again) to
the first new decision, and until every shard has decided anew: where half of the shards go on, that is the time of the
others. *Whole* is the store when every shard has a position and every live process is there. All orders must end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bulk_states import fill_both, parked_template
from benchmarks.decided import Decided, watching
from benchmarks.fleet import Stage
from benchmarks.flow import run_orders
from benchmarks.parts import DATA, REPORT, SECONDS_MAX, finish
from contracts.topics import SHARDS
from deploy.chaos.redis_faults import RedisServer
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.store import StoreUnavailable
from orchestrator.runtime.store_redis import RedisStore

TARGETS_S = {"restarted": 2.0, "taken_over": 10.0, "emptied": 60.0}
RATE = 80
"""Orders a second: so many that every shard has some to decide once it can."""
LOAD_SECONDS = {"restarted": 12, "taken_over": 25, "emptied": 20}
CALM_SECONDS = 4.0
"""Of load before the loss."""
UNDER_WAY_MS = 100
"""What the dead engine had sent may still be on its way to the broker's log: decisions count from so long after."""
WHOLE_SECONDS = 600.0
LOOK_SECONDS = 0.1
INDEX = "parked:running"
ROLES = "engine,clock"


def main(
    live: Annotated[int, typer.Option(min=0, help="Live processes, all waiting, beside the orders.")] = 100_000,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Report that the result is put into.")] = REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure how soon the engine decides again after a loss. Exits 1 if something was not there again."""
    result = measure(data, live)
    finish("recovery", result, as_json, report, lines(result))
    raise typer.Exit(0 if result["live_after"] == live else 1)


def measure(data: Path, live: int) -> dict[str, Any]:
    """Raises TimeoutError: orders have not ended."""
    return asyncio.run(_measure(data, live))


async def _measure(data: Path, live: int) -> dict[str, Any]:
    async with Stage(data) as stage:
        store = RedisStore(stage.endpoints.redis.orchestrator)
        try:
            await _fill(stage, store, live)
            await stage.fleet.start("router", "router")
            await stage.fleet.start_services()
            claimed_s = await stage.fleet.start("engine-1", ROLES)
            await run_orders(stage.endpoints.kafka, 500, "warm", seconds_max=SECONDS_MAX)
            result: dict[str, Any] = {"live": live, "start_seconds": round(claimed_s, 2)}
            result["restarted"] = await _felt(stage, store, live, "restarted", _restart)
            await stage.fleet.start("engine-2", ROLES)
            await stage.fleet.ready()
            result["taken_over"] = await _felt(stage, store, live, "taken_over", _leave)
            result["emptied"] = await _felt(stage, store, live, "emptied", _empty)
            (result["live_after"],) = await store.counts([INDEX])
        finally:
            await store.close()
    return result


async def _fill(stage: Stage, store: RedisStore, live: int) -> None:
    now_ms = time.time_ns() // 1_000_000
    appender = await KafkaLog(stage.endpoints.kafka, "bulk").appender()
    try:
        await fill_both(store, appender, parked_template(now_ms), range(live), now_ms)
    finally:
        await appender.close()


Loss = Callable[[Stage], Awaitable[int]]
"""Does it, and returns when it was done (this machine's clock, which is the broker's, in ms)."""


async def _felt(stage: Stage, store: RedisStore, live: int, name: str, lose: Loss) -> dict[str, Any]:
    """Under load: lose something, and see when decisions go on. All orders of the load end, or it raises."""
    kafka, orders = stage.endpoints.kafka, RATE * LOAD_SECONDS[name]
    async with watching(kafka) as decided:
        load = asyncio.create_task(run_orders(kafka, orders, name, seconds_max=SECONDS_MAX, rate=RATE))
        try:
            await asyncio.sleep(CALM_SECONDS)
            lost_ms = await lose(stage)
            whole_s = await _whole_after(store, live, lost_ms)
            await load
            await _caught_up(decided)
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        return summary(decided, lost_ms) | {"whole_seconds": whole_s, "target_seconds": TARGETS_S[name]}


def summary(decided: Decided, lost_ms: int) -> dict[str, float | None]:
    """Seconds from the loss. Pure."""
    margin_s = UNDER_WAY_MS / 1000
    found = {"first": decided.first_s(lost_ms + UNDER_WAY_MS), "every": decided.every_s(lost_ms + UNDER_WAY_MS)}
    return {f"{name}_seconds": None if s is None else round(s + margin_s, 2) for name, s in found.items()}


async def _whole_after(store: RedisStore, live: int, lost_ms: int) -> float:
    """Seconds until every shard has a position in the store, and all that waited are there. Raises TimeoutError."""
    async with asyncio.timeout(WHOLE_SECONDS):
        while True:
            with contextlib.suppress(StoreUnavailable):
                positions = await store.positions(range(SHARDS))
                if None not in positions.values() and (await store.counts([INDEX]))[0] == live:
                    return round((_now_ms() - lost_ms) / 1000, 2)
            await asyncio.sleep(LOOK_SECONDS)


async def _caught_up(decided: Decided) -> None:
    """The observer has read what the load has seen the end of."""
    before = -1
    while before != decided.all.count:
        before = decided.all.count
        await asyncio.sleep(1)


async def _restart(stage: Stage) -> int:
    stage.fleet.kill("engine-1")
    lost_ms = _now_ms()
    stage.fleet.spawn("engine-1", ROLES)
    return lost_ms


async def _leave(stage: Stage) -> int:
    stage.fleet.kill("engine-1")
    return _now_ms()


async def _empty(stage: Stage) -> int:
    redis = RedisServer(stage.stack, "redis-orchestrator")
    await redis.kill()
    redis.replace(None)
    await redis.start()
    return _now_ms()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    found = [f"recovery, {result['live']:,} live processes; a start takes {result['start_seconds']} s"]
    for name, target in TARGETS_S.items():
        one = result[name]
        found.append(
            f"  {name:10} first decision after {one['first_seconds']} s (target {target:g}), every shard after"
            f" {one['every_seconds']} s, the store whole after {one['whole_seconds']} s"
        )
    found.append(f"  live processes in the store afterwards: {result['live_after']:,}")
    return found


if __name__ == "__main__":
    typer.run(main)
