"""What the demo shows: progress while it runs, the tables, the reconciliation, the stories."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.demo.checks import FateRow
from deploy.demo.reconciliation import Line
from deploy.demo.tally import Report

PIPE_WIDTH = 140
DISCREPANCIES_SHOWN = 5


def make_console() -> Console:
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


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
