"""`python -m benchmarks.waiting`: what a waiting process costs, in bytes of Redis and idle processor time.

The real router, engine and clock run over a log in memory and a real Redis of their own; processes are parked for a
year through them. Bytes are the difference of Redis' `used_memory` (keys, tables, allocator rounding), and what MEMORY
USAGE says of each kind of key. Idleness is compared with the same program without any process: a process that
waits must add no command to Redis. Writes `.local/bench-waiting/report.json`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.waiting_processes import Case, answers, cases
from contracts.topics import (
    DOMAIN_PARTITIONS,
    INBOX,
    LIFECYCLE,
    ORCHESTRATOR_DEAD_LETTERS,
    ORCHESTRATOR_REPLAYS,
    SHARDS,
)
from deploy.local.stack import Stack
from deploy.local.state import Settings
from orchestrator.runtime.clock import Clock
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.router import Router
from orchestrator.runtime.rules import rules_of
from orchestrator.runtime.store_redis import RedisStore

KINDS = ("process", "history", "timers", "index")
SAMPLES_MAX = 300
"""Keys of one kind that are asked about one by one."""
SECONDS_MAX = 600.0
SETTLING_S = 3.0
"""Redis still moves keys between its growing tables, in the background."""
BYTES_WANTED = 2_048
"""Of Redis, for a process that waits, history and indexes included."""
CONTEXTS = ("orders", "inventory", "payment", "shipping")
console = Console(width=130)


@dataclass(frozen=True, slots=True)
class Idle:
    """Over some seconds in which nothing happens. Processor time in milliseconds a second."""

    orchestrator_ms: float
    redis_ms: float
    redis_commands: float
    """A second."""


@dataclass(frozen=True, slots=True)
class Cost:
    case: str
    processes: int
    bytes_a_process: float
    of_which: dict[str, float]
    """By kind of key, as MEMORY USAGE has it."""
    stored: dict[str, float]
    """Mean length of the values themselves: the state's blob, and all history entries of a process."""
    idle: Idle
    idle_without: Idle


def main(
    processes: Annotated[int, typer.Option(min=100, help="Processes that wait, in each case.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=1, help="Of idleness, with and without processes.")] = 5.0,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own Redis; erased first.")] = Path(
        ".local/bench-waiting"
    ),
) -> None:
    """Measure Redis bytes and idle processor time of waiting processes."""
    stack = Stack(data, services=(), settings=Settings())
    stack.down()
    stack.erase()
    endpoints = stack.up(only=("redis-orchestrator",))
    try:
        costs = [asyncio.run(_measure(endpoints.redis.orchestrator, case, processes, seconds)) for case in cases()]
    finally:
        stack.down()
    data.mkdir(parents=True, exist_ok=True)
    report = {"bytes_wanted": BYTES_WANTED, "costs": [asdict(cost) for cost in costs]}
    (data / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    _print(costs)


async def _measure(url: str, case: Case, processes: int, seconds: float) -> Cost:
    redis = Redis.from_url(url, protocol=2)
    try:
        await cast(Awaitable[Any], redis.flushall())
        async with _running(url, case) as (log, store):
            await asyncio.sleep(1)  # the claims are over, the scripts are known
            without = await _idle(redis, seconds)
            before = await _used(redis)
            async with asyncio.timeout(SECONDS_MAX):
                await _park(log, store, case, processes)
            idle = await _idle(redis, seconds)
            used = (await _used(redis) - before) / processes
            kinds, stored = await _kinds(redis, processes)
        return Cost(case.name, processes, round(used, 1), kinds, stored, idle, without)
    finally:
        await redis.aclose()


@asynccontextmanager
async def _running(url: str, case: Case) -> AsyncIterator[tuple[MemoryLog, RedisStore]]:
    """Router, engine and clock, as in one OS process of the orchestrator."""
    domain = {f"{name}.{kind}": DOMAIN_PARTITIONS for name in CONTEXTS for kind in ("events", "commands")}
    own = {INBOX: SHARDS, LIFECYCLE: 12, ORCHESTRATOR_DEAD_LETTERS: 12, ORCHESTRATOR_REPLAYS: 12}
    log, store, book = MemoryLog(domain | own, lambda: time.time_ns() // 1_000_000), RedisStore(url), case.book()
    log.commit_start(ENGINE_GROUP, INBOX)
    metrics, readiness, ids = Metrics(CollectorRegistry()), Readiness(), itertools.count()
    engine = EngineLoop(
        log, store, rules_of(book), metrics.engine, readiness, EngineSettings("waiting"), new_id=lambda: f"c{next(ids)}"
    )
    owned = engine.ownership
    clock = Clock(log, store, lambda: owned.owned, metrics.clock, readiness, "waiting", time.monotonic)
    router = Router(log, book, metrics.router, readiness)
    loops = (router, engine, clock)
    for loop in loops:
        await loop.open()
    running = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield log, store
    finally:
        for loop in loops:
            loop.stop()
        await asyncio.gather(*running)
        for loop in loops:
            await loop.close()
        await store.close()


async def _park(log: MemoryLog, store: RedisStore, case: Case, processes: int) -> None:
    """Start them, answer their commands, and wait until all is stored."""
    for number in range(processes):
        log.put(case.start(number))
        if number % 200 == 0:
            await asyncio.sleep(0)
    commands: list[Any] = []
    while len(commands) < processes * case.commands:
        await asyncio.sleep(0.2)
        commands = [record for name in CONTEXTS for record in log.records(f"{name}.commands")]
    for number, answer in enumerate(answers(commands)):
        log.put(answer)
        if number % 200 == 0:
            await asyncio.sleep(0)
    entries = processes * (1 + case.commands)
    while await _folded(store) < entries or (await store.counts([case.index]))[0] < processes:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    await asyncio.sleep(SETTLING_S)


async def _folded(store: RedisStore) -> int:
    """Inputs that the checkpoints cover."""
    positions = (await store.positions(range(SHARDS))).values()
    return sum(position.next for position in positions if position is not None)


async def _used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def _idle(redis: Redis, seconds: float) -> Idle:
    counted, began, own = await _redis_work(redis), time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    own = time.process_time() - own
    took, now = time.monotonic() - began, await _redis_work(redis)
    cpu_s, commands = now[0] - counted[0], now[1] - counted[1] - 2  # the two questions of this function
    return Idle(round(own / took * 1000, 2), round(cpu_s / took * 1000, 2), round(commands / took, 1))


async def _redis_work(redis: Redis) -> tuple[float, int]:
    """Processor seconds and commands of the server so far, scripts' inner commands included."""
    info = await redis.info("everything")
    calls = sum(one["calls"] for name, one in info.items() if name.startswith("cmdstat_"))
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"]), calls


async def _kinds(redis: Redis, processes: int) -> tuple[dict[str, float], dict[str, float]]:
    """Bytes a process by kind of key, and the mean length of the values of the two kinds that each process has."""
    keys: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    async for key in redis.scan_iter(match="cp:{*", count=1_000):
        kind = key.split(b":")[2].decode()
        if kind in keys:
            keys[kind].append(key)
    found: dict[str, float] = {}
    for kind, names in keys.items():
        sample = names[:SAMPLES_MAX]
        sizes = [await cast(Awaitable[int], redis.memory_usage(name, samples=0)) for name in sample]
        found[kind] = round(sum(sizes) / len(sample) * len(names) / processes, 1) if sample else 0.0
    blobs = [int(await cast(Awaitable[Any], redis.strlen(name))) for name in keys["process"][:SAMPLES_MAX]]
    entries = [await cast(Awaitable[Any], redis.lrange(name, 0, -1)) for name in keys["history"][:SAMPLES_MAX]]
    lengths = [sum(len(entry) for entry in one) for one in entries]
    return found, {
        "state": round(sum(blobs) / len(blobs), 1),
        "history": round(sum(lengths) / len(lengths), 1),
        "entries": round(sum(len(one) for one in entries) / len(entries), 1),
    }


def _print(costs: list[Cost]) -> None:
    table = Table(title=f"A process that waits for a year ({costs[0].processes:,} of each)")
    for head in ("", "bytes", "state", "history", "timers", "index", "idle", "Redis", "commands"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for cost in costs:
        idle, none = cost.idle, cost.idle_without
        table.add_row(
            cost.case,
            f"{cost.bytes_a_process:,.0f}",
            *(f"{cost.of_which[kind]:,.0f}" for kind in KINDS),
            f"{idle.orchestrator_ms:.1f} ({none.orchestrator_ms:.1f})",
            f"{idle.redis_ms:.1f} ({none.redis_ms:.1f})",
            f"{idle.redis_commands:,.0f} ({none.redis_commands:,.0f})",
        )
    console.print(table)
    console.print(
        "bytes of Redis a process, and which keys they are in; while nothing happens: processor ms/s of the\n"
        "orchestrator and of Redis, and commands/s to Redis (in brackets: the same program without any process)"
    )


if __name__ == "__main__":
    typer.run(main)
