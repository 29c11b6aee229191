"""`make bench`: durable steps a second of the order flow, beside the raw figure of the same run.

Provider calls are off (in-process providers answer at once), deduplication is on, everything on one machine.
Writes `.local/bench/report.json`; with `--profile` also a profile of the orchestrator, as text.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import pstats
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import raw
from benchmarks.flow import STEPS_PER_ORDER, FlowResult, run_orders
from benchmarks.processor_time import snapshot, used_between
from deploy.local.stack import Stack
from deploy.local.state import Settings
from operations.collector import settle_collector

SECONDS_MAX = 900.0
WARM_UP_ORDERS = 300
LATENCY_RATE = 20.0
QUICK_SHARE = 10
INFRASTRUCTURE = ("kafka", "redis-orchestrator", "redis-services")
console = Console()


def main(
    orders: Annotated[int, typer.Option(min=100, help="Orders of the throughput run.")] = 20_000,
    quick: Annotated[bool, typer.Option(help="A tenth of the orders: under two minutes.")] = False,
    profile: Annotated[
        bool, typer.Option(help="Run the orchestrator under cProfile (slower) and print its top.")
    ] = False,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = Path(
        ".local/bench"
    ),
) -> None:
    """Measure the order flow end to end, and the raw figure beside it."""
    settle_collector()
    orders = max(100, orders // QUICK_SHARE) if quick else orders
    raw_seconds = _measure_raw(data, orders)
    flow, latency, seconds_used = _measure_flow(data, orders, profile)
    report = _report(orders, raw_seconds, flow, latency, seconds_used)
    data.mkdir(parents=True, exist_ok=True)
    (data / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    _print(report)
    if profile:
        _print_profile(data / "orchestrator.prof")


def _measure_raw(data: Path, orders: int) -> float:
    console.print(f"raw: the records of {orders:,} orders, carried by bare consumers and producers …")
    stack = _fresh(data, Settings())
    endpoints = stack.up(only=INFRASTRUCTURE)
    _apply_topics(stack)
    spawn = multiprocessing.get_context("spawn")
    relays = [
        spawn.Process(target=raw.run_relay, args=(endpoints.kafka, which, SECONDS_MAX), daemon=True)
        for which in ("orchestrator", "services")
    ]
    try:
        for relay in relays:
            relay.start()
        asyncio.run(raw.carry(endpoints.kafka, WARM_UP_ORDERS, SECONDS_MAX))
        return asyncio.run(raw.carry(endpoints.kafka, orders, SECONDS_MAX))
    finally:
        for relay in relays:
            relay.kill()
            relay.join()
        stack.down()
        stack.erase()


def _apply_topics(stack: Stack) -> None:
    command = (sys.executable, "-m", "orchestrator.cli", "topics", "apply", "--endpoints", str(stack.site.endpoints))
    subprocess.run(command, check=True, capture_output=True)


def _measure_flow(data: Path, orders: int, profile: bool) -> tuple[FlowResult, FlowResult, dict[str, float]]:
    console.print(f"flow: {orders:,} orders through orchestrator and services …")
    stack = _fresh(data, _settings(data, profile))
    endpoints = stack.up(only=(*INFRASTRUCTURE, "orchestrator", "inventory"))
    pids = {name: process.pid for name, process in endpoints.processes.items()}
    try:
        asyncio.run(run_orders(endpoints.kafka, WARM_UP_ORDERS, "warm", seconds_max=SECONDS_MAX))
        latency_orders = 200
        latency = asyncio.run(
            run_orders(endpoints.kafka, latency_orders, "light", seconds_max=SECONDS_MAX, rate=LATENCY_RATE)
        )
        before = snapshot(pids)
        flow = asyncio.run(run_orders(endpoints.kafka, orders, "load", seconds_max=SECONDS_MAX))
        return flow, latency, used_between(before, snapshot(pids))
    finally:
        stack.down()


def _fresh(data: Path, settings: Settings) -> Stack:
    stack = Stack(data, services=("inventory",), settings=settings)
    stack.down()
    stack.erase()
    return stack


def _settings(data: Path, profile: bool) -> Settings:
    """All three automations in one OS process, and their providers inside it."""
    commands: dict[str, tuple[str, ...]] = {
        "inventory": (sys.executable, "-m", "services", "inventory", "payment", "shipping")
    }
    if profile:
        output = str((data / "orchestrator.prof").absolute())
        roles = ("--roles", "router,engine,clock")
        commands["orchestrator"] = (sys.executable, "-m", "cProfile", "-o", output, "-m", "orchestrator", *roles)
    options = ("--option", "providers=instant", "--option", "opening_stock=local")
    return Settings(commands=commands, arguments={"inventory": options})


def _report(
    orders: int, raw_seconds: float, flow: FlowResult, latency: FlowResult, seconds_used: dict[str, float]
) -> dict[str, Any]:
    steps = orders * STEPS_PER_ORDER
    return {
        "orders": orders,
        "completed": flow.completed,
        "seconds": round(flow.seconds, 2),
        "steps_per_second": round(steps / flow.seconds),
        "raw_seconds": round(raw_seconds, 2),
        "raw_steps_per_second": round(steps / raw_seconds),
        "share_of_raw": round(raw_seconds / flow.seconds, 3),
        "processor_seconds": seconds_used,
        "light_load": {
            "starts_per_second": LATENCY_RATE,
            "process_p50_ms": latency.process_p50_ms,
            "process_p99_ms": latency.process_p99_ms,
        },
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _print(report: dict[str, Any]) -> None:
    table = Table(title=f"Order flow, {report['orders']:,} orders", show_header=False)
    table.add_row("durable steps a second", f"{report['steps_per_second']:,}")
    table.add_row("raw: the same records, bare clients", f"{report['raw_steps_per_second']:,}")
    table.add_row("share of raw", f"{report['share_of_raw']:.0%}")
    light = report["light_load"]
    table.add_row(
        f"whole process at {light['starts_per_second']:.0f} starts/s, p50 / p99",
        f"{light['process_p50_ms']:.0f} / {light['process_p99_ms']:.0f} ms",
    )
    for name, seconds in report["processor_seconds"].items():
        table.add_row(f"processor seconds of {name}", f"{seconds:.1f}")
    console.print(table)


def _print_profile(file: Path) -> None:
    text = file.with_suffix(".txt")
    with text.open("w") as stream:
        pstats.Stats(str(file), stream=stream).sort_stats("tottime").print_stats(40)
    console.print(f"profile of the orchestrator: {text}")


if __name__ == "__main__":
    typer.run(main)
