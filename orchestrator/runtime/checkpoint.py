"""What a checkpoint says about a process, derived from two of its states: the stored one and the new one.

The only place that knows which indexes a process is in. Everything here can be derived from the blobs again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from contracts.record import IncomingRecord
from orchestrator.engine.expiry import EXPIRY_TIMER
from orchestrator.engine.process import Process
from orchestrator.runtime.store import ProcessWrite

GROUP_LENGTH_MAX = 80
"""Longest name of a reason group, in characters: a reason may hold the text of an exception."""
_ELEMENT = re.compile(r"\[\d+\]")
_UNINDEXED = frozenset(("early", "limiter", "expired"))
_BUSY = frozenset(("awaiting", "backoff", "limited"))
_BUSY_UNDOS = frozenset(("awaited", "backoff"))
_GROUPED_PHASES = frozenset(("stuck", "compensating", "compensated", "cancelled"))


def phase_index(saga: str, phase: str) -> str:
    return f"{saga}:{phase}"


def step_index(saga: str, step: str) -> str:
    """Elements of a loop are one group: `ship[3].dispatch` and `ship[4].dispatch` fail at the same step."""
    return f"{saga}:step:{_ELEMENT.sub('[]', step)}"


def reason_index(saga: str, reason: str) -> str:
    return f"{saga}:reason:{reason_group(reason)}"


def reason_group(reason: str) -> str:
    """What comes before the first colon: the code, without the particulars of one process."""
    return reason.split(":", 1)[0].strip()[:GROUP_LENGTH_MAX]


def indexes_of(process: Process) -> tuple[str, ...]:
    """The indexes that the process belongs in: none before it has begun, none once it has expired, and none of a
    limiter."""
    if process.phase in _UNINDEXED:
        return ()
    found = [phase_index(process.saga, process.phase)]
    if process.phase in _GROUPED_PHASES:
        step, reason = process.step, process.reason
        if step is not None:
            found.append(step_index(process.saga, step))
        if reason is not None:
            found.append(reason_index(process.saga, reason))
    return tuple(found)


def removal(process_id: str, stored: Process | None, first_offset: int) -> ProcessWrite:
    """The difference that takes the store from `stored` to nothing."""
    timers = () if stored is None else tuple(stored_timers(stored))
    indexes = () if stored is None else indexes_of(stored)
    return ProcessWrite(process_id, None, (), (), timers, (), indexes, 0, first_offset, True)


def stored_timers(process: Process) -> dict[str, int]:
    """All timers of which the clock must know."""
    if not process.expires_at_ms:
        return process.timers
    return process.timers | {EXPIRY_TIMER: process.expires_at_ms}


def process_write(
    stored: Process | None,
    process: Process,
    blob: bytes,
    history: Sequence[bytes],
    first_offset: int = 0,
    forget_history: bool = False,
) -> ProcessWrite:
    """The difference that takes the store from `stored` to `process`."""
    indexes = indexes_of(process)
    old_timers = {} if stored is None else stored_timers(stored)
    old_indexes = () if stored is None else indexes_of(stored)
    timers = stored_timers(process)
    if timers is old_timers or timers == old_timers:
        timers_set: tuple[tuple[str, int], ...] = ()
        timers_unset: tuple[str, ...] = ()
    else:
        timers_set = tuple((name, due) for name, due in timers.items() if old_timers.get(name) != due)
        timers_unset = tuple(name for name in old_timers if name not in timers)
    left = () if old_indexes == indexes else tuple(name for name in old_indexes if name not in indexes)
    return ProcessWrite(
        process.id,
        blob,
        tuple(history),
        timers_set,
        timers_unset,
        indexes,
        left,
        process.updated_at_ms,
        first_offset,
        forget_history,
        rests(process),
    )


def rests(process: Process) -> bool:
    """No answer is awaited and no new try is due: it waits for a person, an event or a far time, or has ended."""
    return process.phase != "limiter" and not any(
        step.status in _BUSY or any(job.status in _BUSY_UNDOS for job in step.undos) for step in process.steps.values()
    )


def record_id(record: IncomingRecord) -> str:
    """Tells whether the record at an offset is still the same one: 32 hex digits over key, headers and value. The
    append time is left out, so that a copy of the log that keeps its offsets passes."""
    digest = hashlib.sha256()
    headers = (part for name, value in record.headers for part in (name.encode(), value))
    for part in (record.key, record.value, *headers):
        digest.update(b"\xff" if part is None else len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()[:32]
