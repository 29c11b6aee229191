"""What the demo shows: progress while it runs, the tables, the reconciliation, the stories."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from contracts.process import Phase
from deploy.demo.checks import FateRow
from deploy.demo.reconciliation import Line
from deploy.demo.run import Run
from deploy.demo.tally import Report

PIPE_WIDTH = 140
LINE_SECONDS = 3.0
"""Between two progress lines where there is no terminal to draw on."""
DISCREPANCIES_SHOWN = 5
SHOWN: tuple[Phase, ...] = ("completed", "compensated", "stuck")


def make_console() -> Console:
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


class Watch:
    """Bars on a terminal; elsewhere a line every few seconds. `look` is called often."""

    def __init__(self, console: Console, run: Run) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._published: TaskID = self._bars.add_task("published", total=len(run.sendings), detail="")
        self._ended: TaskID = self._bars.add_task("ended", total=len(run.orders), detail="")
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def look(self, run: Run) -> None:
        phases = Counter(run.seen.phases.values())
        ended = phases["completed"] + phases["compensated"] + phases["cancelled"]
        detail = ", ".join(f"{phases[phase]} {phase}" for phase in SHOWN)
        self._bars.update(self._published, completed=len(run.published))
        self._bars.update(self._ended, completed=ended, detail=detail)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            published = f"{len(run.published)} of {len(run.sendings)} published"
            self._console.print(f"  {published}, {ended} of {len(run.orders)} ended ({detail})")


def print_numbers(console: Console, report: Report, ignored: str, dead_letters: str) -> None:
    table = Table(title="What happened", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", style="bold")
    table.add_column()
    rows = (
        (f"{report.orders:,}", "orders"),
        (f"{report.completed:,}", "completed"),
        (f"{report.compensated:,}", "compensated: everything they had done was undone"),
        (f"{report.stuck:,}", "stuck"),
        (f"{report.ignored:,}", f"inputs ignored: {ignored}"),
        (f"{report.dead_letters:,}", f"dead letters: {dead_letters}"),
        (f"{report.steps_per_second:,.0f}", "durable steps per second (commands and undos answered)"),
        (f"{report.process_p50_ms:,.0f} ms", "half of the processes were done within (order appended to end appended)"),
        (f"{report.process_p99_ms:,.0f} ms", "99 of 100 were"),
    )
    for figure, words in rows:
        table.add_row(figure, Text(words))
    console.print()
    console.print(table)


def print_fates(console: Console, rows: Sequence[FateRow]) -> None:
    table = Table("what the order met", "orders", "how they ended", box=None, pad_edge=False)
    for row in rows:
        ends = ", ".join(f"{count} {phase}" for phase, count in sorted(row.ends.items()))
        table.add_row(row.description, str(row.orders), ends)
    console.print()
    console.print(table)


def print_lines(console: Console, lines: Sequence[Line]) -> None:
    console.print()
    console.print(Text("Reconciliation with the outside world's own ledger", style="italic"))
    for line in lines:
        sign, style = ("✔", "green") if line.holds else ("✖", "bold red")
        console.print(Text.assemble((f"{sign} ", style), (f"{line.claim}: ", ""), (line.figures, "dim")))
        for discrepancy in line.discrepancies[:DISCREPANCIES_SHOWN]:
            console.print(Text(f"    {discrepancy}", style="red"))
        more = len(line.discrepancies) - DISCREPANCIES_SHOWN
        if more > 0:
            console.print(Text(f"    and {more} more", style="red"))


def print_verdict(console: Console, lines: Sequence[Line]) -> None:
    broken = [line.name for line in lines if not line.holds]
    console.print()
    if broken:
        console.print(Text(f"It does not reconcile: {', '.join(broken)}.", style="bold red"))
    else:
        console.print(Text("Everything reconciles.", style="bold green"))
