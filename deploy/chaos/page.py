"""Writes the table of a report into a page, between two marks. What is outside of them is a person's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.chaos.fold import Folded, fold
from deploy.chaos.report import Report, ended_text, seconds_text

BEGIN = "<!-- chaos: begin -->"
END = "<!-- chaos: end -->"


class NoMarks(ValueError):
    """The page has no place for the table: it needs the two marks."""


def write_page(page: Path, report: Report) -> None:
    """Raises NoMarks, OSError."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarks(f"{page} needs the marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{markdown(report)}\n{END}{after}")


def markdown(report: Report) -> str:
    """Where and when, the table (all rounds of a fault in one line), and what was told on the way."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    faults = fold(report.rows)
    ran = [one for one in faults if one.run]
    all_held = sum(one.held == one.run for one in ran)
    orders = sum(one.row.orders for one in faults)
    rounds, seeds = max((row.round for row in report.rows), default=1), report.seeds
    yield f"Run on {report.date}: {report.machine};"
    yield f"{report.rate:g} messages a second, durations times {report.scale:g};"
    told_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"{rounds} rounds with seeds {', '.join(map(str, seeds))}"
    yield f"{told_seeds}. {len(ran)} faults injected {sum(one.run for one in ran)} times, {orders:,} orders;"
    yield f"{all_held} faults held every time. Times are the worst of all rounds, counts their sums."
    yield ""
    yield "| fault | injected | run | held | recovered s | pause s | drained s | orders | ended | were stuck |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---|---:|"
    yield from map(_line, faults)
    told = [one.row for one in faults if one.row.what_happened]
    if told:
        yield ""
        yield "What was told on the way:"
        yield ""
        for row in told:
            yield f"- {row.fault}: {'; '.join(row.what_happened)}"


def _line(one: Folded) -> str:
    row = one.row
    cells = (
        row.fault,
        row.injected,
        str(one.run) if one.run else "not run",
        str(one.held) if one.held == one.run else f"**{one.held}**",
        seconds_text(row.recovery_seconds),
        seconds_text(row.pause_seconds),
        seconds_text(row.drained_seconds),
        str(row.orders or ""),
        ended_text(row),
        str(row.stuck or ""),
    )
    return f"| {' | '.join(cells)} |"
