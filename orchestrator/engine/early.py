"""What is kept for a process that has not begun (docs/decisions/0072-early-events.md): transitions of phase `early`.

Only events that the stamped saga waits for, and signals, are kept, each for 24 hours by a timer in the log; then it
goes to dead letters as `never-started`. The start event takes them over into the new process.
"""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from contracts.envelope import decode_headers, encode_headers
from contracts.message import Message
from contracts.process import TimerFired
from orchestrator.engine.arrivals import Arrival, digest, has_room, read_arrival, remember
from orchestrator.engine.correlation import calls_off, concerns
from orchestrator.engine.decision import Alert, Decision, Reason
from orchestrator.engine.effects import Effect, never_started_effect
from orchestrator.engine.expiry import KEEP_ENDED_MS, expire_early, fired_timer
from orchestrator.engine.history import HISTORY_MAX, encode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import NO_START, Early, Process

EARLY_TIMER = "early"
KEPT_MS = 24 * 60 * 60 * 1000
"""How long an early message waits for its process (DESIGN section 4)."""


def keep(plan: Plan, before: Process | None, item: Input) -> Decision:
    """Something that this saga may wait for, and no process."""
    arrival = read_arrival(plan, item)
    if not isinstance(arrival, Arrival):
        return ignored(before, item, "no-process" if arrival == "not-awaited" else arrival)
    nodes = plan.awaits.get(arrival.type, ())
    concerned = any(concerns(plan, item.process_id, node, arrival.data) for node in nodes)
    if not concerned and not calls_off(plan, item.process_id, arrival.type, arrival.data):
        return ignored(before, item, "no-process")
    process = before or _nothing(plan, item)
    if digest(item.envelope) in process.seen:
        return ignored(before, item, "duplicate")
    if not has_room(process.early, arrival.data):
        return ignored(before, item, "early-full", ("early-full",))
    now_ms = max(item.at_ms, process.updated_at_ms)
    kept = Early(
        type=arrival.type,
        data=arrival.data,
        headers=encode_headers(item.envelope),
        key=arrival.message.key if isinstance(arrival.message, Message) else item.process_id,
        offset=item.offset,
        at_ms=now_ms,
    )
    after = msgspec.structs.replace(
        process,
        updated_at_ms=now_ms,
        early=(*process.early, kept),
        seen=remember(process.seen, item),
        timers=process.timers or {EARLY_TIMER: now_ms + KEPT_MS},
        expires_at_ms=0,
        history_length=process.history_length + 1,
    )
    note = f"{arrival.type} has come before its process: it is kept"
    return Decision(after, "buffered", history=_entry(after, item, "buffered", (note,)))


def _nothing(plan: Plan, item: Input) -> Process:
    return Process(
        id=item.process_id,
        saga=plan.saga.name,
        version=plan.saga.version,
        start=NO_START,
        phase="early",
        started_at_ms=item.at_ms,
        updated_at_ms=item.at_ms,
    )


def on_timer(before: Process, item: Input) -> Decision:
    """Give up what has waited long enough; the timer is set again for the rest, or it is all forgotten in the end."""
    if fired_timer(item) is not None:
        return expire_early(before, item)
    try:
        fired = TimerFired.model_validate_json(item.data)
    except ValidationError:
        return ignored(before, item, "invalid-payload")
    now_ms = max(item.at_ms, before.updated_at_ms)
    due = before.timers.get(fired.timer_id)
    if due is None or now_ms < due:
        return ignored(before, item, "stale" if due is None else "premature")
    expired = tuple(one for one in before.early if one.at_ms + KEPT_MS <= now_ms)
    kept = before.early[len(expired) :]
    effects = tuple(never_started_effect(before.id, one, now_ms) for one in expired)
    forgotten = {digest(decode_headers(one.headers)) for one in expired}  # so that a replay of the dead letter counts
    after = msgspec.structs.replace(
        before,
        seen=tuple(one for one in before.seen if one not in forgotten),
        updated_at_ms=now_ms,
        revision=before.revision + 1,
        early=kept,
        timers={EARLY_TIMER: kept[0].at_ms + KEPT_MS} if kept else {},
        expires_at_ms=0 if kept else now_ms + KEEP_ENDED_MS,
        history_length=before.history_length + 1,
    )
    note = f"{len(expired)} early messages go to dead letters: no process has started within 24 hours"
    entry = _entry(after, item, "applied", (note,), effects)
    return Decision(after, "applied", effects=tuple(effect.record for effect in effects), history=entry)


def ignored(before: Process | None, item: Input, reason: Reason, alerts: tuple[Alert, ...] = ()) -> Decision:
    if before is None or before.history_length >= HISTORY_MAX:
        return Decision(before, "ignored", reason, alerts=alerts)
    after = msgspec.structs.replace(before, history_length=before.history_length + 1)
    return Decision(after, "ignored", reason, history=_entry(after, item, "ignored", (), (), reason), alerts=alerts)


def _entry(
    after: Process,
    item: Input,
    result: str,
    notes: tuple[str, ...],
    effects: tuple[Effect, ...] = (),
    reason: Reason | None = None,
) -> bytes:
    now_ms = max(item.at_ms, after.updated_at_ms)
    return encode_entry(item, now_ms, result, reason, after.phase, after.revision, notes, effects)


def taken_over(plan: Plan, before: Process | None) -> tuple[Early, ...]:
    """What the new process, of this version, may still want; the rest is in its history."""
    if before is None:
        return ()
    return tuple(Early(type=one.type, data=one.data) for one in before.early if one.type in plan.awaits)


def called_off_before(plan: Plan, before: Process | None) -> bool:
    """What calls the process off has come before what starts it."""
    return before is not None and any(plan.calls_off(one.type) for one in before.early)
