"""The report: its file, its table, its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deploy.chaos.page import BEGIN, END, NoMarks, write_page
from deploy.chaos.report import Report, Row, read_report, table_of

HELD = Row(
    "kill-engine", "processes", "kill -9 of engine", "held", ("a note",), 1.94, 2.5, 3.1, 102, 90, 12, reconciled=True
)
FAILED = replace(HELD, fault="kill-clock", status="failed", reconciled=False, unended=3, problems=("money: 0.01",))
NOT_RUN = Row("skewed-clock", "clock", "two minutes fast", "not run", ("not run: faketime is missing",))
REPORT = Report("2 cores", "2026-01-01 00:00 UTC", 7, 0.2, 20.0, (HELD, FAILED, NOT_RUN))


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "deep" / "report.json")
    assert read_report(tmp_path / "deep" / "report.json") == REPORT


def test_a_report_holds_unless_a_row_failed() -> None:
    assert not REPORT.holds
    assert replace(REPORT, rows=(HELD, NOT_RUN)).holds


def test_the_table_tells_what_held_what_failed_and_what_was_not_run() -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table_of(REPORT.rows))
    lines = [line.split() for line in shown.get().splitlines()]
    assert [line[0] for line in lines[1:]] == ["kill-engine", "kill-clock", "skewed-clock"]
    assert [line[-1] for line in lines[1:]] == ["yes", "NO", "run"]
    assert "3 unended" in shown.get()


def test_a_page_gets_the_table_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "chaos.md"
    page.write_text(f"before\n{BEGIN}\nearlier table\n{END}\nafter\n")
    write_page(page, REPORT)
    write_page(page, REPORT)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\nRun on 2026-01-01 00:00 UTC: 2 cores; seed 7")
    assert text.endswith(f"{END}\nafter\n")
    assert "| kill-engine | kill -9 of engine | 1.9 | 2.5 | 3.1 | 102 | 90 completed, 12 compensated |  | yes |" in text
    assert "- skewed-clock: not run: faketime is missing" in text
    assert "earlier table" not in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "chaos.md"
    page.write_text("nothing")
    with pytest.raises(NoMarks):
        write_page(page, REPORT)
    assert page.read_text() == "nothing"
