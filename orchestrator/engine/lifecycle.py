"""What the world is told about a process: one event for every phase that it enters."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.process import (
    Phase,
    ProcessCancelled,
    ProcessCompensated,
    ProcessCompensating,
    ProcessCompleted,
    ProcessLifecycle,
    ProcessResumed,
    ProcessStarted,
    ProcessStuck,
)
from orchestrator.engine.effects import lifecycle_effect
from orchestrator.engine.process import Process
from orchestrator.engine.turn import Turn

ENDED: dict[Phase, type[ProcessLifecycle]] = {
    "completed": ProcessCompleted,
    "compensated": ProcessCompensated,
    "cancelled": ProcessCancelled,
}


def announce(turn: Turn, after: Process, resumed: Phase) -> None:
    """Lifecycle events for every phase that this turn has entered, in order. `resumed`: where one that is no longer
    stuck goes on."""
    before, cause = turn.before, after.cause
    why = (cause.step, cause.reason) if cause else (None, None)
    entered: list[tuple[type[ProcessLifecycle], Phase, str | None, str | None]] = []
    if turn.starting:
        entered.append((ProcessStarted, "running", None, None))
    if before.stuck and not after.stuck:
        entered.append((ProcessResumed, resumed, None, None))
    if cause is not None and before.cause is None:
        entered.append((ProcessCompensating, "compensating", *why))
    for address, reason in after.stuck.items():
        if before.stuck.get(address) != reason:
            entered.append((ProcessStuck, "stuck", address, reason))
    if after.ended is not None and after.ended != before.ended:
        entered.append((ENDED[after.ended], after.ended, *why))
    at = datetime.fromtimestamp(turn.now_ms / 1000, UTC) if entered else None
    for number, (event, phase, where, what) in enumerate(entered):
        assert at is not None
        announced = event(
            process_id=after.id, saga=after.saga, version=after.version, phase=phase, step=where, reason=what, at=at
        )
        turn.send(
            lifecycle_effect(
                announced,
                serial=f"{after.revision}.{number}",
                now_ms=turn.now_ms,
                traceparent=before.start.traceparent,
                causation=turn.item.envelope.id,
            )
        )
