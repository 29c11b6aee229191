"""`python -m deploy.chaos`: faults under load on a stack of their own, and the proof that nothing was lost. The
composition root.

Exit codes: 0 everything that was run held, 1 something did not (its row and its folder say what), 2 usage.
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.chaos.episode import Plan, told_of
from deploy.chaos.fault import Fault
from deploy.chaos.machine import describe_machine
from deploy.chaos.page import write_page
from deploy.chaos.report import Report, Row, read_report, table_of, verdict_text
from deploy.chaos.run import Chaos
from deploy.chaos.schedule import Turn, for_ever, one_round
from deploy.chaos.table import FAULTS, UnknownFault, named
from deploy.demo.screen import make_console
from deploy.local.progress import silent

DEFAULT_DATA = Path(".local/chaos")
REPORT = "report.json"
RATE_DEFAULT = 20.0


def chaos(
    fault: Annotated[
        list[str] | None, typer.Option("--fault", metavar="NAME", help="Only this fault, or family; may be repeated.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List all faults, and run none.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders and the same schedule.")] = 7,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Go on for so long, round after round, each with the next seed. Default: every fault once."
        ),
    ] = None,
    scale: Annotated[float, typer.Option(min=0.01, max=10, help="Of all durations: 0.2 makes a minute 12 s.")] = 1.0,
    rate: Annotated[float, typer.Option(min=1, max=1_000, help="Messages published per second.")] = RATE_DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the stack, the report and the evidence.")] = DEFAULT_DATA,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the table of the last report into this page; run nothing."),
    ] = None,
) -> None:
    """Inject faults into the real stack under a steady load of orders; each must be survived, and reconcile."""
    console = make_console()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker is away is the point here
    try:
        chosen = named(tuple(fault)) if fault else FAULTS
    except UnknownFault as error:
        typer.echo(error.args[0], err=True)
        raise typer.Exit(2) from None
    if show:
        _list(console, chosen, as_json)
    elif page is not None:
        write_page(page, read_report(data / REPORT))
    else:
        schedule = one_round(chosen, seed) if minutes is None else _until(chosen, seed, minutes)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        report = Report(describe_machine(platform.python_version()), now, seed, scale, rate)
        quiet = Console(quiet=True) if as_json else console
        report = asyncio.run(_run(quiet, report, schedule, data))
        if as_json:
            typer.echo(json.dumps(report.json(), indent=2))
        raise typer.Exit(0 if report.holds else 1)


async def _run(console: Console, report: Report, schedule: Iterable[Turn], data: Path) -> Report:
    plan = Plan(report.rate, report.scale, data, lambda: time.time_ns() // 1_000_000)

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False)

    async with Chaos(data / "stack", plan, say, silent) as runs:
        try:
            async for row in runs.rows(schedule):
                report = replace(report, rows=(*report.rows, row))
                report.write(data / REPORT)
                _tell(console, row)
        except Exception as error:  # noqa: BLE001 - the rows so far are told, and this is one more
            console.print("\n".join(told_of(error)), style="red", markup=False, soft_wrap=True)
            broken = Row("stack", "", "none", "failed", problems=told_of(error))
            report = replace(report, rows=(*report.rows, broken))
            report.write(data / REPORT)
    console.print()
    console.print(table_of(report.rows))
    return report


def _until(faults: tuple[Fault, ...], seed: int, minutes: float) -> Iterator[Turn]:
    end = time.monotonic() + minutes * 60
    for turn in for_ever(faults, seed):
        if time.monotonic() >= end:
            return
        yield turn


def _tell(console: Console, row: Row) -> None:
    for note in row.what_happened:
        console.print(f"  {note}", markup=False, soft_wrap=True)
    for problem in row.problems:
        console.print(f"  {problem}", style="red", markup=False, soft_wrap=True)
    measures = ((row.recovery_seconds, "first new decision after"), (row.drained_seconds, "drained after"))
    told = [f"{words} {seconds:.1f} s" for seconds, words in measures if seconds is not None]
    counts = f"{row.orders} orders: {row.completed} completed, {row.compensated} compensated, {row.stuck} were stuck"
    console.print(f"  {'; '.join((*told, counts))}; reconciled: {verdict_text(row)}", markup=False, soft_wrap=True)


def _list(console: Console, faults: tuple[Fault, ...], as_json: bool) -> None:
    rows = [Row(one.name, one.family, one.title, "not run") for one in faults]
    if as_json:
        names = [{"fault": row.fault, "family": row.family, "injected": row.injected} for row in rows]
        typer.echo(json.dumps(names, indent=2))
        return
    for row in rows:
        console.print(f"{row.fault:<32} {row.family:<24} {row.injected}", markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _end)
    typer.run(chaos)


def _end(number: int, frame: object) -> None:
    """As Ctrl-C does: what was started is stopped. The report has the rows so far."""
    typer.echo(f"ended by signal {number}", err=True)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
