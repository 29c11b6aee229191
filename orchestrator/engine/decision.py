"""What `decide` returns."""

from __future__ import annotations

from typing import Literal

from contracts.record import OutgoingRecord
from orchestrator.engine.process import Process, Value

Result = Literal["applied", "buffered", "ignored"]
Reason = Literal[
    "ambiguous-step",
    "already-ended",
    "already-ending",
    "already-started",
    "conflicting-start",
    "contradicted",
    "correction-invalid",
    "duplicate",
    "duplicate-start",
    "early-full",
    "expired",
    "form-invalid",
    "invalid-payload",
    "no-process",
    "not-an-outcome",
    "not-awaited",
    "not-correctable",
    "not-migratable",
    "not-skippable",
    "not-stuck",
    "nothing-to-retry",
    "outcome-invalid",
    "outcome-needed",
    "past-pivot",
    "premature",
    "stale",
    "too-old",
    "unexpected-type",
    "wrong-role",
]
"""Why an input was ignored: the closed set that metrics use as a label. See docs/protocol.md."""

Alert = Literal["success-without-process", "deadline-after-pivot", "surplus-success", "early-full", "on-stuck-failed"]
Verdict = Reason | Literal["buffered"] | None
"""What an input comes to: ignored for a reason, kept for later, or applied."""


class Measure(Value, frozen=True):
    """A duration for the histograms: of one step (sent to settled), of a whole process, or of a wait for a permit
    (`name`: the limiter's, `outcome`: its kind)."""

    kind: Literal["step", "process", "permit"]
    saga: str
    name: str
    outcome: str
    duration_ms: int


class LimiterMeasure(Value, frozen=True):
    """What one input has made of a limiter. `waiting`: requests in its line; of a rate, permits that are given away
    ahead of their time."""

    kind: str
    name: str
    granted: int
    deferred: int
    expired: int
    waiting: int


class Decision(Value, frozen=True):
    """`process` None: nothing is kept. `history`: one encoded entry (see orchestrator.engine.history). `forget`: what
    the process was, its history included, is dropped first (see orchestrator.engine.expiry)."""

    process: Process | None
    result: Result
    reason: Reason | None = None
    effects: tuple[OutgoingRecord, ...] = ()
    history: bytes | None = None
    alerts: tuple[Alert, ...] = ()
    measures: tuple[Measure | LimiterMeasure, ...] = ()
    forget: bool = False
