"""What the world is told about a process: one event for every phase that it enters."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

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


class _Undisturbed(msgspec.Struct, gc=False):
    """What every event says of which there is nothing more to say; in the order of the contract."""

    process_id: str
    saga: str
    version: int
    phase: Phase
    at: datetime


_encoder = msgspec.json.Encoder()


def lifecycle_json(
    event: type[ProcessLifecycle], process: Process, phase: Phase, step: str | None, reason: str | None, now_ms: int
) -> bytes:
    """The payload as the contract writes it. A start and a completion, which are most of them, are made without it: a
    tenth of the time, and nothing in them that it could reject."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    if step is None and reason is None:
        return _encoder.encode(_Undisturbed(process.id, process.saga, process.version, phase, at))
    said = event(
        process_id=process.id, saga=process.saga, version=process.version, phase=phase, step=step, reason=reason, at=at
    )
    return said.to_json()


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
    for number, (event, phase, where, what) in enumerate(entered):
        turn.send(
            lifecycle_effect(
                event,
                after.id,
                lifecycle_json(event, after, phase, where, what, turn.now_ms),
                serial=f"{after.revision}.{number}",
                now_ms=turn.now_ms,
                traceparent=before.start.traceparent,
                causation=turn.item.envelope.id,
            )
        )
