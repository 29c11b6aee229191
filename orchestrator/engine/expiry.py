"""The end of what is kept (docs/decisions/0046-expiry.md): an ended process becomes a tombstone, and a tombstone
nothing. Owns the transitions of phase `expired`.

Both are timers in the log, so that every fold forgets at the same input. No plan is asked for: versions of sagas may be
gone by then.
"""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from contracts.process import TimerFired
from contracts.topics import DAY_MS, TOMBSTONE_MS
from orchestrator.engine.decision import Alert, Decision, Reason, Result
from orchestrator.engine.history import HISTORY_MAX, encode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process

EXPIRY_TIMER = "expiry"
"""Its due time is `Process.expires_at_ms`: it is none of the timers that a process works with."""
KEEP_ENDED_MS = 7 * DAY_MS
"""How long an ended process is kept whole, unless its saga says otherwise."""
_ENDED = frozenset(("completed", "compensated", "cancelled"))


def may_expire(process: Process) -> bool:
    """It has ended, and nothing of it is open: no late undo, nobody to decide, no parent that may want it undone. (The
    one place that says so.)"""
    return process.phase in _ENDED and process.over and not process.timers and not process.awaited()


def armed(plan: Plan, process: Process) -> Process:
    """The process with the time at which it is forgotten, from the turn on in which it has come to rest."""
    if process.expires_at_ms or not may_expire(process):
        return process
    keep = plan.saga.keep_ended
    keep_ms = KEEP_ENDED_MS if keep is None else round(keep.total_seconds() * 1000)
    return msgspec.structs.replace(process, expires_at_ms=process.updated_at_ms + keep_ms)


def fired_timer(item: Input) -> TimerFired | None:
    """The expiry that the input tells of, if it is one."""
    if item.envelope.type != TimerFired.type:
        return None
    try:
        fired = TimerFired.model_validate_json(item.data)
    except ValidationError:
        return None
    return fired if fired.timer_id == EXPIRY_TIMER else None


def expire(process: Process, item: Input) -> Decision:
    """The expiry of a process that has begun. States that were stored before there was an expiry have no due time: the
    engine asks for them with the same input, and they get one."""
    now_ms = max(item.at_ms, process.updated_at_ms)
    if not process.expires_at_ms:
        if not may_expire(process):
            return _noted(process, item, "ignored", "stale")
        due_ms = process.updated_at_ms + KEEP_ENDED_MS
        return _noted(msgspec.structs.replace(process, expires_at_ms=due_ms), item, "applied")
    if now_ms < process.expires_at_ms:
        return _noted(process, item, "ignored", "premature")
    if not may_expire(process):
        return _noted(msgspec.structs.replace(process, expires_at_ms=0), item, "applied")
    return Decision(_tombstone(process, now_ms), "applied", forget=True)


def _noted(process: Process, item: Input, result: Result, reason: Reason | None = None) -> Decision:
    """A decision about a process that stays; only when it is forgotten has changed."""
    if result == "ignored" and process.history_length >= HISTORY_MAX:
        return Decision(process, result, reason)
    revision = process.revision + (result == "applied")
    after = msgspec.structs.replace(process, revision=revision, history_length=process.history_length + 1)
    now_ms = max(item.at_ms, after.updated_at_ms)
    entry = encode_entry(item, now_ms, result, reason, after.phase, after.revision, (), ())
    return Decision(after, result, reason, history=entry)


def _tombstone(process: Process, now_ms: int) -> Process:
    return Process(
        id=process.id,
        saga=process.saga,
        version=process.version,
        phase="expired",
        started_at_ms=process.started_at_ms,
        updated_at_ms=now_ms,
        ended=process.ended,
        expires_at_ms=now_ms + TOMBSTONE_MS,
    )


def decide_expired(before: Process, item: Input, alerts: tuple[Alert, ...]) -> Decision:
    """Whatever comes for a tombstone. `alerts`: what it is worth if there is no process.

    What the router has stamped may be a start: the tombstone then stays for as long as that record can come again.
    """
    now_ms = max(item.at_ms, before.updated_at_ms)
    if fired_timer(item) is not None:
        if now_ms < before.expires_at_ms:
            return _ignored(before, "premature")
        return Decision(None, "applied", forget=True)
    if item.saga is None:
        return _ignored(before, "expired", alerts)
    return _ignored(kept_on(before, now_ms), "already-ended")


def kept_on(tombstone: Process, now_ms: int) -> Process:
    """The tombstone of a process that somebody wanted to start at `now_ms`."""
    due_ms = max(tombstone.expires_at_ms, now_ms + TOMBSTONE_MS)
    return msgspec.structs.replace(tombstone, expires_at_ms=due_ms)


def expire_early(before: Process, item: Input) -> Decision:
    """The expiry of what was kept for a process that has never begun."""
    if not before.expires_at_ms:
        return _ignored(before, "stale")
    if max(item.at_ms, before.updated_at_ms) < before.expires_at_ms:
        return _ignored(before, "premature")
    return Decision(None, "applied", forget=True)


def _ignored(process: Process, reason: Reason, alerts: tuple[Alert, ...] = ()) -> Decision:
    """Counted, and not in the history: what is about to be forgotten does not grow."""
    return Decision(process, "ignored", reason, alerts=alerts)


def too_old(item: Input) -> bool:
    """The start record was appended so long ago that a tombstone of its process may be gone."""
    return item.origin_at_ms is not None and item.at_ms - item.origin_at_ms > TOMBSTONE_MS
