"""Deadline and age: what must not be started any more. Pure; asked by dedupe, which alone knows whether there is a
mark. A deadline refuses only an id that has none (DESIGN section 5)."""

from __future__ import annotations

from services.sdk.reasons import Code, Reason
from services.sdk.work import Failure, Problem, Work


def past_deadline(work: Work, now_ms: int) -> Failure | None:
    """The refusal of a command whose deadline has passed."""
    deadline_ms = work.envelope.deadline_ms if work.is_command else None
    if deadline_ms is None or now_ms <= deadline_ms:
        return None
    detail = f"its deadline {work.envelope.deadline} had passed when it was to start"
    return Failure(Code.DEADLINE_EXCEEDED, detail, certain=True, reason=None)


def too_old(work: Work, now_ms: int, retention_ms: int) -> Problem | None:
    """A record older than the dedupe retention is never executed: its mark may have expired. Replays are exempt."""
    age_ms = now_ms - work.record.timestamp_ms
    if work.replayed or age_ms <= retention_ms:
        return None
    detail = f"appended {age_ms // 1000} s ago, the dedupe retention is {retention_ms // 1000} s"
    return Problem(Reason.TOO_OLD, detail, Code.TOO_OLD)


def left_s(work: Work, now_ms: int) -> float | None:
    """Seconds until the deadline, or None without one."""
    deadline_ms = work.envelope.deadline_ms
    return None if deadline_ms is None else (deadline_ms - now_ms) / 1000
