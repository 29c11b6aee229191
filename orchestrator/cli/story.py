"""The story of a process: its history told in sentences. Pure; `story_view.py` prints it.

Command ids say what they are: `<process>/<step>/<try>`, `<process>/<step>/undo/<n>`, emits `<process>/<name>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from contracts.catalog import Catalog
from contracts.limits import PermitDeferred, PermitGranted
from contracts.message import Command
from contracts.process import (
    ApprovalGiven,
    CancelChild,
    CancelRequested,
    ChildEnded,
    MigrationRequested,
    OperatorAction,
    ReleaseChild,
    SignalSent,
    StartChild,
    TimerFired,
    UndoChild,
)
from contracts.technical import CommandFailed
from contracts.topics import LIFECYCLE
from orchestrator.engine.history import HistoryEffect, HistoryEntry
from orchestrator.engine.permits import SAGA_ADDRESS
from orchestrator.engine.process import Permit, Process, StepState

Mark = Literal["start", "success", "refusal", "failure", "timer", "operator", "other", "ignored"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A command, an undo or an event that the process published."""

    what: str
    type: str
    body: bytes
    undo: bool = False
    undoes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chapter:
    """One input and what it led to. `since_ms`: from the process' start. `took_ms`: from the command to its answer."""

    offset: int
    at_ms: int
    since_ms: int
    mark: Mark
    title: str
    type: str
    body: bytes
    took_ms: int | None = None
    ignored: str | None = None
    notes: tuple[str, ...] = ()
    sent: tuple[Sent, ...] = ()
    phases: tuple[str, ...] = ()
    """Phases that the process entered here."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that is not over yet."""

    what: str
    since_ms: int | None
    until: tuple[tuple[str, int], ...] = ()
    """Timers: what happens, and when."""
    verb: str = "sent"
    """What was done at `since_ms`."""


@dataclass(frozen=True, slots=True)
class Story:
    process: Process
    chapters: tuple[Chapter, ...]
    waiting: tuple[Waiting, ...]
    advice: tuple[str, ...]
    """Commands that a person can run next, if the process is stuck."""


IGNORED_BECAUSE = {
    "already-started": "the process had been started by another message with the same content",
    "ambiguous-step": "several steps are stuck, and it named none",
    "conflicting-start": "the process had been started with another content",
    "contradicted": "this try had already succeeded",
    "duplicate": "this try had been answered before, or this very message had come before",
    "duplicate-start": "the same start message came again",
    "invalid-payload": "its content is against the contract",
    "no-process": "there was no such process",
    "not-an-outcome": "it is no outcome of the command that it names",
    "not-awaited": "it answers a command that was never sent, or nothing waits for it any more",
    "not-skippable": "this cannot be skipped",
    "not-stuck": "nothing was stuck there",
    "nothing-to-retry": "there was nothing to retry",
    "outcome-invalid": "the given outcome is against the contract",
    "outcome-needed": "a later step needs this step's outcome, and none was given",
    "already-ending": "the process is being undone, or has ended",
    "correction-invalid": "the payload does not fit the command's contract",
    "early-full": "too many messages wait for this process already",
    "form-invalid": "the form does not fit",
    "not-migratable": "its state cannot be carried over to that version (the notes say why)",
    "not-correctable": "there is no answered command here that could be corrected",
    "wrong-role": "this role may not decide here",
    "past-pivot": "the process had passed the point of no return",
    "premature": "the timer was not due yet; it stays set",
    "stale": "the process had moved on by then",
    "unexpected-type": "nothing waits for this type",
}
"""Why an input was ignored, in words (orchestrator.engine.decision.Reason)."""


def tell(process: Process, history: Sequence[HistoryEntry], catalog: Catalog, advice: tuple[str, ...] = ()) -> Story:
    """`advice`: commands to run next, as the reader should type them."""
    teller = _Teller(process, catalog)
    return Story(process, tuple(teller.chapter(entry) for entry in history), tuple(_waiting(process)), advice)


@dataclass(slots=True)
class _Teller:
    process: Process
    catalog: Catalog
    sent: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Command id -> its type, and when it was sent."""
    phase: str = ""

    def chapter(self, entry: HistoryEntry) -> Chapter:
        mark, title = self._input(entry)
        asked = self.sent.get(entry.causation_id or "")
        for effect in entry.effects:
            self.sent[effect.id] = effect.type, entry.at_ms
        phases = (entry.phase,) if entry.result == "applied" and entry.phase != self.phase else ()
        self.phase = entry.phase if entry.result == "applied" else self.phase
        return Chapter(
            offset=entry.offset,
            at_ms=entry.at_ms,
            since_ms=entry.at_ms - self.process.started_at_ms,
            mark="ignored" if entry.result == "ignored" else mark,
            title=title,
            type=entry.type,
            body=entry.data,
            took_ms=entry.at_ms - asked[1] if asked is not None else None,
            ignored=None if entry.reason is None else explain(entry.reason),
            notes=entry.notes,
            sent=tuple(self._sent(effect) for effect in entry.effects if effect.topic != LIFECYCLE),
            phases=phases,
        )

    def _input(self, entry: HistoryEntry) -> tuple[Mark, str]:
        if entry.type == TimerFired.type:
            return "timer", f"timer: {_timer_name(entry.data)}"
        if entry.type == OperatorAction.type:
            return "operator", _operator(entry.data)
        if entry.type in FROM_LIMITERS:
            return "other", _from_limiter(entry)
        if entry.type in SAID:
            return "operator", _said(entry.type, entry.data)
        if entry.type in FROM_PARENT:
            return ("start" if entry.type == StartChild.type else "other"), _said(entry.type, entry.data)
        if entry.type == self.process.start.type and entry.causation_id is None:
            return "start", f"{entry.type} from {entry.source}"
        if entry.causation_id is None:
            return "other", f"{entry.type} from {entry.source}"
        return self._answer(entry)

    def _answer(self, entry: HistoryEntry) -> tuple[Mark, str]:
        assert entry.causation_id is not None
        what = name_of(self.process.id, entry.causation_id)
        if entry.type == CommandFailed.type:
            return "failure", f"{what} failed"
        if entry.type == ChildEnded.type:
            return _child_ended(what, entry.data)
        asked = self.sent.get(entry.causation_id)
        command = self.catalog.get(asked[0]) if asked else None
        if command is not None and issubclass(command, Command):
            if entry.type in (event.type for event in command.succeeds):
                return "success", f"{what} succeeded"
            if entry.type in (event.type for event in command.refuses):
                return "refusal", f"{what} was refused"
        return "other", f"{what}: {entry.type}"

    def _sent(self, effect: HistoryEffect) -> Sent:
        undo = "/undo/" in effect.id[len(self.process.id) :]
        return Sent(name_of(self.process.id, effect.id), effect.type, effect.data, undo, effect.undoes)


def explain(reason: str) -> str:
    """`stale` -> `stale: the process had moved on by then`."""
    return f"{reason}: {IGNORED_BECAUSE[reason]}" if reason in IGNORED_BECAUSE else reason


def name_of(process_id: str, message_id: str) -> str:
    """`order-fulfilment:o1/charge/2` of its process -> `charge, try 2`; a first try is just `charge`."""
    path = message_id.removeprefix(f"{process_id}/")
    head, _, last = path.rpartition("/")
    if not head or not last.isdigit():
        return path
    number = int(last)
    if head.endswith("/undo"):
        step = head.removesuffix("/undo")
        return f"undo of {step}" if number == 1 else f"undo of {step}, attempt {number}"
    return head if number == 1 else f"{head}, try {number}"


def _timer_name(data: bytes) -> str:
    """Timer ids: `deadline`, `<step>/silence`, `<step>/retry`, `<step>/undo/<n>/silence`, `<step>/undo/<n>/retry`."""
    try:
        timer_id = str(msgspec.json.decode(data)["timer_id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unreadable"
    return timer_words(timer_id)


def timer_words(timer_id: str) -> str:
    if timer_id == "deadline":
        return "the deadline of the whole process"
    step, _, kind = timer_id.rpartition("/")
    if "/undo/" in step:
        step = f"the undo of {step.split('/undo/')[0]}"
    words = {
        "silence": f"no answer from {step}",
        "wake": f"the end of {step}",
        "limit": f"the limit of {step}",
        "permit": f"the permit of {'the process' if step == SAGA_ADDRESS else step}",
        "escalation": f"escalation of {step}",
    }
    return words.get(kind, f"time to try {step} again")


def _operator(data: bytes) -> str:
    try:
        action = msgspec.json.decode(data)
        where = f" {action['step']}" if action.get("step") else ""
        return f"{action['operator']} says: {action['action']}{where}"
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return "an operator's action"


SAID = {
    SignalSent.type: "{sender} signals {signal}",
    ApprovalGiven.type: "{by} says: {decision} {step}",
    CancelRequested.type: "{operator} says: cancel",
    MigrationRequested.type: "{operator} says: migrate from version {from_version} to {to_version}",
}
"""What else a person says, in words."""
FROM_PARENT = {
    StartChild.type: "{parent} starts it, at {step}",
    CancelChild.type: "{parent} calls it off",
    UndoChild.type: "{parent} wants it undone",
    ReleaseChild.type: "{parent} has ended, and lets it go",
}
"""What a parent says to its child, in words."""


def _child_ended(what: str, data: bytes) -> tuple[Mark, str]:
    try:
        ended = ChildEnded.model_validate_json(data)
    except ValueError:
        return "other", f"{what}: {ChildEnded.type}"
    if what.startswith("undo of "):
        undone = ended.phase != "completed"
        return ("success" if undone else "failure"), f"{what}: {ended.child} {'is' if undone else 'cannot be'} undone"
    completed = ended.phase == "completed"
    return ("success" if completed else "refusal"), f"{what}: {ended.child} is {ended.phase.replace('-', ' ')}"


def _said(type_name: str, data: bytes) -> str:
    try:
        return (SAID | FROM_PARENT)[type_name].format_map({"sender": "somebody"} | msgspec.json.decode(data))
    except (msgspec.DecodeError, KeyError, TypeError):
        return type_name


FROM_LIMITERS = {
    PermitGranted.type: "{limiter} grants a permit",
    PermitDeferred.type: "{limiter}: too many wait, ask again later",
}


def _from_limiter(entry: HistoryEntry) -> str:
    try:
        return FROM_LIMITERS[entry.type].format_map(msgspec.json.decode(entry.data))
    except (msgspec.DecodeError, KeyError, TypeError):
        return entry.type


def _permit_waits(process: Process, address: str, permit: Permit) -> Waiting:
    """Its place in the line is known to the limiter alone."""
    name = permit.limiter.partition(":")[2].replace(":", " ", 1)
    of = "the whole process" if address == SAGA_ADDRESS else address
    timers = {"due": "it goes on", "deferred": "it asks again", "asked": "it asks again if nothing is answered"}
    until = tuple((timers[permit.state], due) for timer, due in process.timers.items() if timer == f"{address}/permit")
    return Waiting(f"a permit of {name} for {of}", permit.asked_at_ms, until, "asked")


def _waiting(process: Process) -> Iterator[Waiting]:
    for address, permit in process.permits.items():
        if permit.state != "held":
            yield _permit_waits(process, address, permit)
    for step, state in process.steps.items():
        if state.status in ("awaiting", "backoff"):
            yield _step_waits(process, step, state)
        if state.status == "waiting":
            yield Waiting(step, None, _timers(process, f"{step}/"))
        for job in state.undos:
            if job.status in ("awaited", "backoff"):
                timers = _timers(process, f"{step}/undo/")
                child = "" if state.child is None or timers else f", by the process {state.child}"
                what = name_of("", f"/{step}/undo/{job.numbers[-1]}")
                yield Waiting(what + child, job.sent_at_ms, timers)


def _step_waits(process: Process, step: str, state: StepState) -> Waiting:
    last = state.tries[-1]
    prefix = f"{step}/"
    timers = tuple(pair for pair in _timers(process, prefix) if not pair[0].startswith("the undo"))
    child = "" if state.child is None else f", the process {state.child}"
    return Waiting(name_of("", f"/{step}/{last.number}") + child, last.sent_at_ms, timers)


def _timers(process: Process, prefix: str) -> tuple[tuple[str, int], ...]:
    return tuple((timer_words(name), due) for name, due in process.timers.items() if name.startswith(prefix))
