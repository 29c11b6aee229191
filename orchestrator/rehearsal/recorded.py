"""A history as `counterpoint show --json` prints it, folded again by the present definition of its saga."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.envelope import Envelope, parse_time
from contracts.ids import process_id
from contracts.limits import PermitDeferred, PermitGranted
from contracts.message import Command
from contracts.process import MigrationRequested, SignalSent
from contracts.technical import CommandFailed
from contracts.topics import LIFECYCLE
from orchestrator.engine.book import SagaBook
from orchestrator.engine.children import TO_CHILD
from orchestrator.engine.decide import decide
from orchestrator.engine.history import HistoryEffect, decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.saga import Saga

ENTRIES_MAX = 100_000
DIFFERENCES_MAX = 20
"""More follow from these."""
SHOWN_MAX = 200
"""Characters of a value."""


class RecordedInput(BaseModel):
    model_config = ConfigDict(frozen=True)

    type: str
    id: str
    source: str
    causation_id: str | None = None
    data: Any


class RecordedEffect(BaseModel):
    model_config = ConfigDict(frozen=True)

    topic: str
    id: str
    type: str
    undoes: tuple[str, ...] = ()
    data: Any


class RecordedEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    offset: int
    at: str
    input: RecordedInput
    result: str
    reason: str | None
    phase: str
    effects: tuple[RecordedEffect, ...]


class Recording(BaseModel):
    """Raises pydantic's ValidationError where a file is something else."""

    model_config = ConfigDict(frozen=True)

    process_id: str
    saga: str
    version: int
    phase: str
    history: tuple[RecordedEntry, ...] = Field(min_length=1, max_length=ENTRIES_MAX)


@dataclass(frozen=True, slots=True)
class Difference:
    """`offset`: of the input. `step`: the message's id after the process (empty: the input itself). `field`: a path."""

    offset: int
    input: str
    step: str
    field: str
    recorded: str
    now: str

    def __str__(self) -> str:
        where = f"{self.step} " if self.step else ""
        return f"#{self.offset} {self.input}: {where}{self.field}: recorded {self.recorded}, now {self.now}"


def replay(saga: Saga, recording: Recording) -> tuple[Difference, ...]:
    """Up to DIFFERENCES_MAX; none: the definition does the same. The phase announcements are not compared (they carry
    the version), the phases are."""
    book = SagaBook([saga])
    plan = book.plan(saga.name, saga.version)
    found: list[Difference] = []
    process: Process | None = None
    for entry in recording.history:
        if entry.input.type == MigrationRequested.type and process is not None:
            process = _passed_over(process, entry)
            continue
        decision = decide(book, process, read_entry(plan, recording.process_id, entry))
        process = decision.process or process
        effects = () if decision.history is None else decode_entry(decision.history).effects
        reason = None if decision.reason is None else str(decision.reason)
        phase = entry.phase if process is None else process.phase
        compared = _Compared(recording.process_id, entry)
        found.extend(compared.outcome(decision.result, reason, phase))
        found.extend(compared.effects(effects))
        if len(found) >= DIFFERENCES_MAX:
            break
    return tuple(found[:DIFFERENCES_MAX])


def _passed_over(process: Process, entry: RecordedEntry) -> Process:
    """It was moved to another version; here it is in the one that is tried from its start on."""
    revision = process.revision + (entry.result == "applied")
    return msgspec.structs.replace(process, revision=revision, history_length=process.history_length + 1)


def read_recording(text: bytes) -> Recording:
    """Raises ValueError: it is not what `show --json` prints."""
    try:
        return Recording.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"this is not what `counterpoint show --json` prints: {place}: {first['msg']}") from error


def read_entry(plan: Plan, process: str, entry: RecordedEntry) -> Input:
    """The input again. A history does not keep `ce_processid` nor the router's stamp; both follow from the saga."""
    recorded = entry.input
    answers = _is_answer(plan, process, recorded)
    envelope = Envelope(
        id=recorded.id,
        source=recorded.source,
        type=recorded.type,
        process_id=process if answers else None,
        causation_id=recorded.causation_id,
    )
    from_parent = recorded.type in TO_CHILD
    routed = (
        from_parent or recorded.type in (plan.saga.starts_on.type, SignalSent.type) or _is_wanted(plan, recorded.type)
    )
    stamp = (plan.saga.name, plan.saga.version) if routed and not answers else (None, None)
    data = recorded.data.encode() if isinstance(recorded.data, str) else msgspec.json.encode(recorded.data)
    return Input(entry.offset, parse_time(entry.at), process, envelope, data, *stamp)


def _is_wanted(plan: Plan, type_name: str) -> bool:
    """The router brings it here though no command asked for it."""
    return type_name in plan.awaits or plan.calls_off(type_name)


def _is_answer(plan: Plan, process: str, recorded: RecordedInput) -> bool:
    """It names one of our commands; and if somebody may wait for its type too, it is an outcome of that command."""
    causation = recorded.causation_id
    from_limiter = recorded.type in (PermitGranted.type, PermitDeferred.type)
    if from_limiter or causation is None or not causation.startswith(f"{process}/"):
        return False
    if not _is_wanted(plan, recorded.type):
        return True
    path = causation.removeprefix(f"{process}/").rpartition("/")[0]
    node = plan.find(path.removesuffix("/undo"))
    made = None if node is None else node.undo_makes if path.endswith("/undo") else node.makes
    if made is None or not issubclass(made, Command):
        return False
    return recorded.type in (CommandFailed.type, *(event.type for event in made.succeeds + made.refuses))


class _Compared:
    """One input's two outcomes."""

    def __init__(self, process: str, entry: RecordedEntry) -> None:
        self._process = process
        self._entry = entry

    def outcome(self, result: str, reason: str | None, phase: str) -> Iterator[Difference]:
        pairs = (("result", self._entry.result, result), ("reason", self._entry.reason, reason))
        for field, recorded, now in (*pairs, ("phase", self._entry.phase, phase)):
            if recorded != now:
                yield self._difference("", field, recorded, now)

    def effects(self, effects: tuple[HistoryEffect, ...]) -> Iterator[Difference]:
        recorded = {one.id: one for one in self._entry.effects if one.topic != LIFECYCLE}
        now = {one.id: one for one in effects if one.topic != LIFECYCLE}
        for message_id in dict.fromkeys((*recorded, *now)):
            before, after = recorded.get(message_id), now.get(message_id)
            if before is None or after is None:
                told = [None if one is None else _Told(f"{one.type} is sent") for one in (before, after)]
                yield self._difference(message_id, "the message", *told)
                continue
            for field in ("topic", "type", "undoes"):
                if getattr(before, field) != getattr(after, field):
                    yield self._difference(message_id, field, getattr(before, field), getattr(after, field))
            for field, one, other in _fields("", before.data, msgspec.json.decode(after.data)):
                yield self._difference(message_id, field, one, other)

    def _difference(self, message_id: str, field: str, recorded: object, now: object) -> Difference:
        step = message_id.removeprefix(f"{self._process}/")
        entry = self._entry
        return Difference(entry.offset, entry.input.type, step, field, _shown(recorded), _shown(now))


class _Told(str):
    """Words of ours, not a value."""


def _fields(place: str, recorded: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Paths at which two JSON values differ, such as `lines[0].quantity`."""
    if isinstance(recorded, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*recorded, *now)):
            here = f"{place}.{name}" if place else str(name)
            yield from _fields(here, recorded.get(name, ABSENT), now.get(name, ABSENT))
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for number, (one, other) in enumerate(zip(recorded, now, strict=True)):
            yield from _fields(f"{place}[{number}]", one, other)
    elif recorded != now:
        yield place or "the payload", recorded, now


ABSENT = _Told("absent")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = str(value) if isinstance(value, _Told) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def is_of(recording: Recording, saga: Saga) -> bool:
    """The recorded process is one of that saga, in whatever version."""
    prefix = process_id(saga.name, "")
    return recording.saga == saga.name and recording.process_id.startswith(prefix)
