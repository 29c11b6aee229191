"""Several rounds of one run as one line a fault: how often it was run, how often it held, the worst times. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deploy.chaos.report import Row


@dataclass(frozen=True, slots=True)
class Folded:
    """All rows of one fault. `row` has the worst times, the sums of all counts, and what was told; it held if all
    did."""

    row: Row
    run: int
    held: int


def fold(rows: Sequence[Row]) -> tuple[Folded, ...]:
    """One entry a fault, in the order in which each was first injected."""
    names = dict.fromkeys(row.fault for row in rows)
    return tuple(_folded([row for row in rows if row.fault == name]) for name in names)


def _folded(rows: Sequence[Row]) -> Folded:
    run = [row for row in rows if row.status != "not run"]
    held = sum(row.status == "held" for row in run)
    first = replace(rows[0], what_happened=_told(rows), problems=tuple(one for row in rows for one in row.problems))
    if not run:
        return Folded(first, 0, 0)
    return Folded(
        replace(
            first,
            status="held" if held == len(run) else "failed",
            recovery_seconds=_worst(row.recovery_seconds for row in run),
            pause_seconds=_worst(row.pause_seconds for row in run),
            drained_seconds=_worst(row.drained_seconds for row in run),
            orders=sum(row.orders for row in run),
            completed=sum(row.completed for row in run),
            compensated=sum(row.compensated for row in run),
            cancelled=sum(row.cancelled for row in run),
            stuck=sum(row.stuck for row in run),
            unended=sum(row.unended for row in run),
            reconciled=all(row.reconciled for row in run),
        ),
        len(run),
        held,
    )


def _told(rows: Sequence[Row]) -> tuple[str, ...]:
    """Of the round that told most: what the others told differs in numbers only."""
    return max((row.what_happened for row in rows), key=len)


def _worst(seconds: Iterable[float | None]) -> float | None:
    return max((one for one in seconds if one is not None), default=None)
