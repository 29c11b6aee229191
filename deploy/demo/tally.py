"""The numbers of a run: `report.json` and the table. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from contracts.process import Phase
from deploy.demo.checks import IgnoredInputs
from deploy.demo.evidence import Evidence
from deploy.demo.observation import Observation
from deploy.demo.reconciliation import totals_of
from deploy.demo.traffic import process_of

STEPS_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of `report.json`, in this order."""

    orders: int
    completed: int
    compensated: int
    stuck: int
    ignored: int
    dead_letters: int
    captured_cents: int
    refunded_cents: int
    fulfilled_value_cents: int
    labels_open: int
    reserved_units: int
    double_effects: int
    steps_per_second: float
    process_p50_ms: float
    process_p99_ms: float

    def json(self) -> dict[str, Any]:
        return asdict(self)


def make_report(evidence: Evidence, seen: Observation, ignored: IgnoredInputs, ignored_elsewhere: int) -> Report:
    """`ignored_elsewhere`: inputs that were ignored for want of a process; they are in no history."""
    totals = totals_of(evidence)
    phases: Counter[Phase] = Counter(seen.phases.get(process_of(order)) or "running" for order in evidence.placed)
    durations = process_durations_ms(seen)
    return Report(
        orders=len(evidence.placed),
        completed=phases["completed"],
        compensated=phases["compensated"],
        stuck=phases["stuck"],
        ignored=sum(reasons.total() for reasons in ignored.values()) + ignored_elsewhere,
        dead_letters=len(seen.dead_letters),
        captured_cents=totals.captured_cents,
        refunded_cents=totals.refunded_cents,
        fulfilled_value_cents=totals.fulfilled_value_cents,
        labels_open=totals.labels_open,
        reserved_units=totals.reserved_units,
        double_effects=totals.double_effects,
        steps_per_second=round(steps_per_second(seen), 1),
        process_p50_ms=percentile(durations, 50),
        process_p99_ms=percentile(durations, 99),
    )


def process_durations_ms(seen: Observation) -> list[int]:
    """From the append of the start event to the append of the event that says it ended, ascending."""
    both = seen.started_ms.keys() & seen.ended_ms.keys()
    return sorted(seen.ended_ms[process] - seen.started_ms[process] for process in both)


def steps_per_second(seen: Observation) -> float:
    """Commands and undos that were answered, from the first start on, until 99 of 100 were: the last ones wait ten
    seconds for a silent provider, which says nothing about speed."""
    answers = sorted(seen.answered_ms.values())
    if not answers or not seen.started_ms:
        return 0.0
    counted_answers = math.ceil(STEPS_SHARE * len(answers))
    elapsed_ms = answers[counted_answers - 1] - min(seen.started_ms.values())
    return counted_answers / max(elapsed_ms, 1) * 1_000


def percentile(ascending: Sequence[int], percent: float) -> float:
    """By nearest rank; 0 if there is nothing."""
    if not ascending:
        return 0.0
    rank = math.ceil(percent / 100 * len(ascending))
    return float(ascending[max(rank, 1) - 1])


def dead_letter_reasons(seen: Observation) -> Mapping[str, int]:
    return Counter(letter.reason for letter in seen.dead_letters)


def ignored_reasons(ignored: IgnoredInputs) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for reasons in ignored.values():
        total.update(reasons)
    return total


def counted(reasons: Mapping[str, int]) -> str:
    """`12 duplicate-start, 1 not-awaited`, the most frequent first."""
    ordered: Iterable[tuple[str, int]] = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ordered)
