"""Whether anything is stranded: what is kept of processes, judged. Pure, but for the `Auditor`, which looks and waits.

A process is stranded if nothing will ever move it: its timer is not in the clock's set, its state is gone, no answer
can come. The judgement is over one process at one revision. What moves between two looks is alive, and no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from contracts.ids import partition_of
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.process import Process, decode_process
from orchestrator.runtime.audit_store import Mend, Sight, Wanted
from orchestrator.runtime.checkpoint import indexes_of, stored_timers
from orchestrator.runtime.packing import PackedWrong, unpack

FINAL = frozenset(("completed", "compensated", "cancelled"))
OWN = frozenset(("early", "limiter", "expired"))
"""Phases of what is no process under way."""
OVERDUE_MS = 60_000
"""A timer that is due for so long, nobody fires: the clock repeats a firing every 10 s."""

Code = Literal[
    "timer-lost",
    "timer-left-over",
    "timer-overdue",
    "state-gone",
    "state-unreadable",
    "history-differs",
    "index-entry-lost",
    "index-entry-left-over",
    "nothing-awaited",
    "no-silence-timer",
    "command-lost",
    "command-passed-over",
    "answer-unheard",
    "command-dead-lettered",
    "answer-dead-lettered",
    "start-dead-lettered",
    "execution-untold",
    "shard-refused",
    "shard-idle",
]
REPAIR = "counterpoint audit --repair"
RECOVER = "counterpoint recover"
REFOLDED: frozenset[Code] = frozenset(
    ("state-gone", "state-unreadable", "history-differs", "nothing-awaited", "no-silence-timer")
)
"""Found in states that the log does not make: the shard is folded again."""
MENDED: frozenset[Code] = frozenset(("timer-lost", "timer-left-over", "index-entry-lost", "index-entry-left-over"))
"""Found beside sound states: timers and indexes are derived from them again."""
UNSEEN: frozenset[Code] = frozenset(("index-entry-lost", "index-entry-left-over", "timer-left-over", "history-differs"))
"""These hide a process or show one too many, but the process itself goes on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `process_id` is empty if it is a whole shard's. `frees`: the command that ends it."""

    code: Code
    shard: int
    process_id: str
    why: str
    frees: str

    @property
    def strands(self) -> bool:
        """Whether a process (or a whole shard) cannot go on because of it."""
        return self.code not in UNSEEN


@dataclass(frozen=True, slots=True)
class Kept:
    """The names under which a process was found beside its state."""

    timers: frozenset[str] = frozenset()
    indexes: frozenset[str] = frozenset()


def wanted_of(process_id: str, process: Process | None, kept: Kept) -> Wanted:
    """What must be looked at to judge it: what its state says, and where it was found."""
    timers, indexes = set(kept.timers), set(kept.indexes)
    if process is not None:
        timers.update(stored_timers(process))
        indexes.update(indexes_of(process))
    return Wanted(process_id, tuple(sorted(timers)), tuple(sorted(indexes)))


def read_state(blob: bytes | None) -> Process | None:
    """Of a state as it is stored. Raises msgspec.DecodeError, msgspec.ValidationError."""
    try:
        return None if blob is None else decode_process(unpack(blob))
    except PackedWrong as error:
        raise msgspec.DecodeError(str(error)) from error


def judge(sight: Sight, now_ms: int) -> tuple[Finding, ...]:
    """Everything that is wrong with one process, as it was seen at one revision."""
    return tuple(_findings(sight, now_ms))


def _findings(sight: Sight, now_ms: int) -> Iterator[Finding]:
    try:
        process = read_state(sight.blob)
    except msgspec.DecodeError as error:
        yield _finding(sight, "state-unreadable", f"its state cannot be read: {error}")
        return
    if process is None:
        named = [*(f"timer {name}" for name in sight.timers), *(f"index {name}" for name in sorted(sight.indexes))]
        if sight.history:
            named.append(f"a history of {sight.history} entries")
        if named:
            yield _finding(sight, "state-gone", f"its state is gone, but there is {', '.join(named)}")
        return
    yield from _timers(sight, process, now_ms)
    yield from _indexes(sight, process)
    if sight.history != process.history_length:
        why = f"its history has {sight.history} entries, its state says {process.history_length}"
        yield _finding(sight, "history-differs", why)
    yield from _ways_on(sight, process)


def _timers(sight: Sight, process: Process, now_ms: int) -> Iterator[Finding]:
    due = stored_timers(process)
    for name, due_ms in due.items():
        if sight.timers.get(name) != due_ms:
            yield _finding(sight, "timer-lost", f"its timer {name} is not set, so it will never fire")
        elif now_ms - due_ms > OVERDUE_MS:
            why = f"its timer {name} is due for {(now_ms - due_ms) // 1000} s, and no clock fires it"
            yield _finding(sight, "timer-overdue", why)
    for name in sight.timers.keys() - due.keys():
        yield _finding(sight, "timer-left-over", f"timer {name} is set, but its state has none")


def _indexes(sight: Sight, process: Process) -> Iterator[Finding]:
    due = frozenset(indexes_of(process))
    for name in sorted(due - sight.indexes):
        yield _finding(sight, "index-entry-lost", f"index {name} has lost it: no list shows it")
    for name in sorted(sight.indexes - due):
        yield _finding(sight, "index-entry-left-over", f"index {name} has it, but its phase is {process.phase}")


def _ways_on(sight: Sight, process: Process) -> Iterator[Finding]:
    """A process that has not ended waits for an answer, a timer or a person; and an answer never without a timer."""
    if process.phase in FINAL or process.phase in OWN or process.stuck:
        return
    if not process.awaited() and not process.timers:
        yield _finding(sight, "nothing-awaited", "it waits for no answer, no timer and no person")
    for name in sorted(_silence_timers(process) - process.timers.keys()):
        yield _finding(sight, "no-silence-timer", f"it waits for an answer, and has no timer {name} should none come")


def _silence_timers(process: Process) -> set[str]:
    """The timers that answers under way must have (see the engine's `command` and `undo`). Another process always
    answers: what is sent to one has none."""
    wanted = set()
    for key, step in process.steps.items():
        if step.status == "awaiting" and step.record is not None and step.record.topic != INBOX:
            wanted.add(f"{key}/silence")
        for job in step.undos:
            if job.status == "awaited" and job.record is not None and job.record.topic != INBOX:
                wanted.add(f"{key}/undo/{job.numbers[-1]}/silence")
    return wanted


def mend_of(sight: Sight) -> Mend | None:
    """What makes timers and indexes agree with the state; None: there is no state, or nothing to mend."""
    try:
        process = read_state(sight.blob)
    except msgspec.DecodeError:
        return None
    if process is None or sight.blob is None:
        return None
    due, timers = indexes_of(process), stored_timers(process)
    mend = Mend(
        sight.process_id,
        sight.blob,
        tuple((name, due_ms) for name, due_ms in timers.items() if sight.timers.get(name) != due_ms),
        tuple(name for name in sight.timers if name not in timers),
        tuple(name for name in due if name not in sight.indexes),
        tuple(sorted(sight.indexes - frozenset(due))),
        process.updated_at_ms,
    )
    changes = (mend.timers_set, mend.timers_unset, mend.indexes_set, mend.indexes_unset)
    return mend if any(changes) else None


def _finding(sight: Sight, code: Code, why: str) -> Finding:
    frees = "start the clock: python -m orchestrator --roles clock" if code == "timer-overdue" else REPAIR
    return Finding(code, partition_of(sight.process_id, SHARDS), sight.process_id, why, frees)


def by_process(findings: tuple[Finding, ...]) -> Mapping[str, tuple[Finding, ...]]:
    """The findings of each process, in the order of the findings."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.process_id, []).append(finding)
    return {process_id: tuple(found) for process_id, found in grouped.items()}
