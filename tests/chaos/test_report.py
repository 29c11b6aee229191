"""The report: its file, its table, its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deploy.chaos.fold import fold
from deploy.chaos.page import BEGIN, END, NoMarks, write_page
from deploy.chaos.report import Report, Row, read_report, table_of

HELD = Row(
    "kill-engine",
    "processes",
    "kill -9 of engine",
    "held",
    ("a note",),
    1.94,
    2.5,
    3.1,
    102,
    90,
    12,
    reconciled=True,
    seed=7,
)
FAILED = replace(HELD, fault="kill-clock", status="failed", reconciled=False, unended=3, problems=("money: 0.01",))
NOT_RUN = Row("skewed-clock", "clock", "two minutes fast", "not run", ("not run: faketime is missing",), seed=7)
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
    assert text.startswith(f"before\n{BEGIN}\nRun on 2026-01-01 00:00 UTC: 2 cores;\n20 messages a second")
    assert "seed 7. 2 faults injected 2 times, 204 orders;\n1 faults held every time" in text
    assert text.endswith(f"{END}\nafter\n")
    assert (
        "| kill-engine | kill -9 of engine | 1 | 1 | 1.9 | 2.5 | 3.1 | 102 | 90 completed, 12 compensated |  |" in text
    )
    assert "| kill-clock | kill -9 of engine | 1 | **0** | 1.9 |" in text
    assert "| skewed-clock | two minutes fast | not run | 0 |" in text
    assert "- skewed-clock: not run: faketime is missing" in text
    assert "earlier table" not in text


def test_the_rounds_of_a_fault_are_one_line_with_the_worst_times_and_how_often_it_held(tmp_path: Path) -> None:
    slow = replace(HELD, recovery_seconds=None, pause_seconds=9.0, drained_seconds=1.0, round=2, seed=8)
    broken = replace(FAILED, fault="kill-engine", drained_seconds=30.0, round=3, seed=9)
    skipped = replace(NOT_RUN, fault="kill-engine", round=4, seed=10)

    (one,) = fold((HELD, slow, broken, skipped))

    assert (one.run, one.held, one.row.status) == (3, 2, "failed")
    assert (one.row.recovery_seconds, one.row.pause_seconds, one.row.drained_seconds) == (1.94, 9.0, 30.0)
    assert (one.row.orders, one.row.completed, one.row.unended) == (306, 270, 3)
    page = tmp_path / "chaos.md"
    page.write_text(f"{BEGIN}{END}")
    write_page(page, replace(REPORT, rows=(HELD, slow, broken)))
    assert "3 rounds with seeds 7, 8, 9. 1 faults injected 3 times, 306 orders" in page.read_text()
    assert "| kill-engine | kill -9 of engine | 3 | **2** | 1.9 | 9.0 | 30.0 | 306 |" in page.read_text()


def test_a_report_is_replaced_whole(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "report.json")
    replace(REPORT, rows=(HELD,)).write(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json").rows == (HELD,)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "chaos.md"
    page.write_text("nothing")
    with pytest.raises(NoMarks):
        write_page(page, REPORT)
    assert page.read_text() == "nothing"
