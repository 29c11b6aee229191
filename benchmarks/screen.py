"""A benchmark's report as a table on the screen."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(console: Console, report: dict[str, Any]) -> None:
    flow = report["throughput"]
    table = Table(title=f"Order flow, {report['orders']:,} orders, one in five declined", show_header=False)
    table.add_row("durable steps a second", f"{flow['steps_per_second']:,}")
    table.add_row("processes a second", f"{flow['processes_per_second']:,}")
    table.add_row("raw: the same records, bare clients", f"{report['raw']['steps_per_second']:,}")
    table.add_row("share of raw", f"{report['share_of_raw']:.0%}")
    for light in report["latency"]:
        whole = light["process_ms"]
        table.add_row(
            f"whole process at {light['starts_per_second']} starts/s, p50 / p99 / p99.9", _three(whole) + " ms"
        )
        for kind, times in light["hop_ms"].items():
            table.add_row(f"  one hop through the {kind}", _three(times) + " ms")
    for name, micros in flow["processor_us_per_step"].items():
        table.add_row(f"processor time a step: {name}", f"{micros:,} µs")
    for name, peer in report.get("peers", {}).items():
        table.add_row(name, _peer(peer))
    console.print(table)


def _three(times: dict[str, int]) -> str:
    return f"{times['p50']} / {times['p99']} / {times['p99.9']}"


def _peer(peer: dict[str, Any]) -> str:
    if "missing" in peer:
        return f"not run: {peer['missing']}"
    light = peer["light_load"]
    took = f"p50 / p99 {light['process_p50_ms']:.1f} / {light['process_p99_ms']:.1f} ms"
    return f"{peer['steps_per_second']:,} steps/s, {took}"
