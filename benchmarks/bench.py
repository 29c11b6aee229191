"""`make bench`: the order flow end to end, a fifth of the orders declined and undone.

In one run: the raw figure (the same records carried by bare clients), throughput, latency at three rates, and the same
flow on two peers. Provider calls are off (in-process providers answer at once), deduplication is on, everything on one
machine. Writes `.local/bench/report.json`; `python -m benchmarks.page` makes `docs/performance.md` of it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import pstats
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import raw
from benchmarks.flow import run_orders
from benchmarks.hops import hop_times
from benchmarks.peers.flow import steps_of
from benchmarks.peers.run import run_peers
from benchmarks.processor_time import Window
from benchmarks.screen import print_report
from deploy.local.stack import Stack
from deploy.local.state import Settings
from operations.collector import settle_collector

SECONDS_MAX = 1800.0
WARM_UP_ORDERS = 1_000
QUICK_SHARE = 10
RATES = {20: 15, 200: 15, 1000: 10}
"""Starts a second -> seconds that this rate is held."""
QUICK_RATES = {20: 8}
INFRASTRUCTURE = ("kafka", "redis-orchestrator", "redis-services")
console = Console()


def main(
    orders: Annotated[int, typer.Option(min=100, help="Orders of the throughput run.")] = 50_000,
    quick: Annotated[bool, typer.Option(help="A tenth of the orders, one rate, no peers: under two minutes.")] = False,
    peers: Annotated[bool, typer.Option(help="Also run the flow on DBOS and Restate.")] = True,
    profile: Annotated[
        bool, typer.Option(help="Run the orchestrator under cProfile (slower) and print its top.")
    ] = False,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark's own stack; erased first.")] = Path(
        ".local/bench"
    ),
) -> None:
    """Measure the order flow end to end, beside the raw figure and the peers."""
    settle_collector()
    orders = max(100, orders // QUICK_SHARE) if quick else orders
    report: dict[str, Any] = {"orders": orders, "machine": _machine()}
    report["raw"] = _measure_raw(data, orders)
    report |= _measure_flow(data, orders, profile, QUICK_RATES if quick else RATES)
    report["share_of_raw"] = round(report["raw"]["seconds"] / report["throughput"]["seconds"], 3)
    if peers and not quick:
        console.print("peers: the same flow on DBOS and Restate …")
        report["peers"] = run_peers(data.parent / "peers", max(500, orders // 10))
    report["measured_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    data.mkdir(parents=True, exist_ok=True)
    (data / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print_report(console, report)
    if profile:
        _print_profile(data / "orchestrator.prof")


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _measure_raw(data: Path, orders: int) -> dict[str, Any]:
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
        asyncio.run(raw.carry(endpoints.kafka, WARM_UP_ORDERS, SECONDS_MAX, "warm"))
        seconds = asyncio.run(raw.carry(endpoints.kafka, orders, SECONDS_MAX, "load"))
        return {"seconds": round(seconds, 2), "steps_per_second": round(steps_of(orders) / seconds)}
    finally:
        for relay in relays:
            relay.kill()
            relay.join()
        stack.down()
        stack.erase()


def _apply_topics(stack: Stack) -> None:
    command = (sys.executable, "-m", "orchestrator.cli", "topics", "apply", "--endpoints", str(stack.site.endpoints))
    subprocess.run(command, check=True, capture_output=True)


def _measure_flow(data: Path, orders: int, profile: bool, rates: dict[int, int]) -> dict[str, Any]:
    console.print(f"flow: {orders:,} orders through orchestrator and services …")
    stack = _fresh(data, _settings(data, profile))
    endpoints = stack.up(only=(*INFRASTRUCTURE, "orchestrator", "inventory"))
    pids = {name: process.pid for name, process in endpoints.processes.items()}
    try:
        asyncio.run(run_orders(endpoints.kafka, WARM_UP_ORDERS, "warm", seconds_max=SECONDS_MAX))
        latency = [_latency(endpoints.kafka, rate, seconds) for rate, seconds in rates.items()]
        window = Window(pids)
        flow = asyncio.run(run_orders(endpoints.kafka, orders, "load", seconds_max=SECONDS_MAX, window=window))
    finally:
        stack.down()
    steps, used = steps_of(orders), window.used
    throughput = {
        "completed": flow.completed,
        "seconds": round(flow.seconds, 2),
        "steps_per_second": round(steps / flow.seconds),
        "processes_per_second": round(orders / flow.seconds),
        "processor_seconds": used,
        "processor_us_per_step": {name: round(seconds / steps * 1e6) for name, seconds in used.items()},
    }
    return {"throughput": throughput, "latency": latency}


def _latency(kafka: str, rate: int, seconds: int) -> dict[str, Any]:
    console.print(f"latency: {rate} starts a second for {seconds} s …")
    began_ms = time.time_ns() // 1_000_000
    result = asyncio.run(run_orders(kafka, rate * seconds, f"rate{rate}", seconds_max=SECONDS_MAX, rate=rate))
    hops = asyncio.run(hop_times(kafka, began_ms))
    return {
        "starts_per_second": rate,
        "process_ms": _percentiles(result.took_ms),
        "hop_ms": {kind: _percentiles(tuple(sorted(times))) for kind, times in hops.items()},
        "lasted_seconds": round(result.seconds, 1),
    }


def _percentiles(ascending: tuple[int, ...]) -> dict[str, int]:
    last = len(ascending) - 1
    return {name: ascending[min(last, int(len(ascending) * share))] for name, share in _SHARES.items()}


_SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


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


def _print_profile(file: Path) -> None:
    text = file.with_suffix(".txt")
    with text.open("w") as stream:
        pstats.Stats(str(file), stream=stream).sort_stats("tottime").print_stats(40)
    console.print(f"profile of the orchestrator: {text}")


if __name__ == "__main__":
    typer.run(main)
