"""What a chaos run found: a row per fault, as JSON and as a table. Pure, but for the writing of one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

Status = Literal["held", "failed", "not run"]
_STYLES: Mapping[Status, str] = {"held": "green", "failed": "bold red", "not run": "dim"}


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. Times are seconds, None where nothing was measured.

    `recovery_seconds`: from the lifting of the fault to the first new decision. `pause_seconds`: the longest time
    without a new decision, the fault included. `drained_seconds`: from the lifting until every order that was placed
    before it had ended. `stuck`: processes that waited for a person, and were retried.
    """

    fault: str
    family: str
    injected: str
    status: Status
    what_happened: tuple[str, ...] = ()
    recovery_seconds: float | None = None
    pause_seconds: float | None = None
    drained_seconds: float | None = None
    orders: int = 0
    completed: int = 0
    compensated: int = 0
    cancelled: int = 0
    stuck: int = 0
    unended: int = 0
    reconciled: bool | None = None
    problems: tuple[str, ...] = ()
    round: int = 1
    seed: int = 0
    """The round's, which drew the order of its faults and the orders of its stacks."""


@dataclass(frozen=True, slots=True)
class Report:
    """`machine` and `date` say where and when; `rows` in the order in which the faults were injected. `seed` is the
    first round's; every round has its own, and its rows name it."""

    machine: str
    date: str
    seed: int
    scale: float
    rate: float
    rows: tuple[Row, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Whether nothing failed. What could not be run is told, and is no failure."""
        return all(row.status != "failed" for row in self.rows)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the rounds that were begun."""
        return tuple(dict.fromkeys(row.seed for row in self.rows)) or (self.seed,)

    def json(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, path: Path) -> None:
        """Whole or not at all: a run that is killed leaves the rows that it had."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(self.json(), indent=2) + "\n")
        fresh.replace(path)


def read_report(path: Path) -> Report:
    """Raises OSError, ValueError, TypeError: it is not a report's file."""
    found = json.loads(path.read_text())
    rows = tuple(
        Row(**{**row, "what_happened": tuple(row["what_happened"]), "problems": tuple(row["problems"])})
        for row in found.pop("rows")
    )
    return Report(**found, rows=rows)


def seconds_text(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def ended_text(row: Row) -> str:
    """`180 completed, 20 compensated`."""
    counts = ((row.completed, "completed"), (row.compensated, "compensated"), (row.cancelled, "cancelled"))
    parts = [f"{count} {word}" for count, word in counts if count]
    if row.unended:
        parts.append(f"{row.unended} unended")
    return ", ".join(parts)


def verdict_text(row: Row) -> str:
    """In one word whether it reconciled, else why there is nothing to reconcile."""
    if row.status == "not run":
        return row.status
    return "yes" if row.reconciled and row.status == "held" else "NO"


def table_of(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("fault", no_wrap=True)
    table.add_column("injected", overflow="fold")
    for heading in ("recovered s", "pause s", "drained s", "orders"):
        table.add_column(heading, justify="right")
    table.add_column("ended")
    table.add_column("stuck", justify="right")
    table.add_column("reconciled")
    for row in rows:
        table.add_row(
            row.fault,
            row.injected,
            seconds_text(row.recovery_seconds),
            seconds_text(row.pause_seconds),
            seconds_text(row.drained_seconds),
            str(row.orders or ""),
            ended_text(row),
            str(row.stuck or ""),
            Text(verdict_text(row), style=_STYLES[row.status]),
        )
    return table
