"""Writes the table of a report into a page, between two marks. What is outside of them is a person's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.chaos.report import Report, ended_text, seconds_text, verdict_text

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
    """Where and when, the table, and what was told on the way."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    held = sum(row.status == "held" for row in report.rows)
    orders = sum(row.orders for row in report.rows)
    yield f"Run on {report.date}: {report.machine}; seed {report.seed}, {report.rate:g} messages a second, durations"
    yield f"times {report.scale:g}. {len(report.rows)} faults, {held} held, {orders:,} orders."
    yield ""
    yield "| fault | injected | recovered s | pause s | drained s | orders | ended | were stuck | reconciled |"
    yield "|---|---|---:|---:|---:|---:|---|---:|---|"
    for row in report.rows:
        cells = (
            row.fault,
            row.injected,
            seconds_text(row.recovery_seconds),
            seconds_text(row.pause_seconds),
            seconds_text(row.drained_seconds),
            str(row.orders or ""),
            ended_text(row),
            str(row.stuck or ""),
            verdict_text(row),
        )
        yield f"| {' | '.join(cells)} |"
    told = [row for row in report.rows if row.what_happened]
    if told:
        yield ""
        yield "What was told on the way:"
        yield ""
        for row in told:
            yield f"- {row.fault}: {'; '.join(row.what_happened)}"
