"""What the log says about commands that are awaited: were they sent, taken, answered? Pure.

Only what the loops have passed is judged: a record that somebody has still to read is no finding, however old it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from contracts.envelope import parse_time
from contracts.ids import partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.process import Process
from orchestrator.runtime.audit import FINAL, REPAIR, Code, Finding
from orchestrator.runtime.log import Place

COMMANDS_SUFFIX, EVENTS_SUFFIX = ".commands", ".events"
AWAITED_MAX = 100_000
"""Commands that one audit follows into the log."""
SINCE_MARGIN_MS = 60_000
"""The log is read from so long before the oldest of these processes started."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A command or undo that a process waits for an answer to, as it was sent."""

    process_id: str
    command_id: str
    type: str
    record: OutgoingRecord

    @property
    def events_topic(self) -> str:
        """Where its answer will be."""
        return self.record.topic.removesuffix(COMMANDS_SUFFIX) + EVENTS_SUFFIX

    @property
    def deadline_ms(self) -> int | None:
        """Until then its service may begin it."""
        deadline = _text(dict(self.record.headers), "ce_deadline")
        return parse_time(deadline) if deadline else None


@dataclass(slots=True)
class Waiting:
    """Mutable: `take` collects what processes wait for."""

    commands: dict[str, Awaited] = field(default_factory=dict)
    since_ms: int | None = None
    stuck: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By process: the addresses where it waits for a person."""

    def take(self, process: Process) -> None:
        if process.stuck and len(self.stuck) < AWAITED_MAX:
            self.stuck[process.id] = tuple(process.stuck)
        if process.phase in FINAL or len(self.commands) >= AWAITED_MAX:
            return
        for one in awaited_of(process):
            self.commands[one.command_id] = one
            began = process.started_at_ms - SINCE_MARGIN_MS
            self.since_ms = began if self.since_ms is None else min(self.since_ms, began)

    @property
    def topics(self) -> frozenset[str]:
        """Where these commands and their answers are."""
        every = self.commands.values()
        return frozenset(one.record.topic for one in every) | frozenset(one.events_topic for one in every)


@dataclass(slots=True)
class Heard:
    """Mutable: `take` folds a record in. By command id: where the command is, and where its first answer."""

    wanted: Mapping[str, Awaited]
    sent: dict[str, IncomingRecord] = field(default_factory=dict)
    answered: dict[str, IncomingRecord] = field(default_factory=dict)

    def take(self, record: IncomingRecord) -> None:
        headers = dict(record.headers)
        if record.topic.endswith(COMMANDS_SUFFIX):
            command_id = _text(headers, "ce_id")
            if command_id in self.wanted:
                self.sent[command_id] = record  # the last copy: a re-send gives it another chance
            return
        command_id = _text(headers, "ce_causationid")
        if command_id in self.wanted and _text(headers, "ce_processid") == self.wanted[command_id].process_id:
            self.answered.setdefault(command_id, record)


@dataclass(frozen=True, slots=True)
class Passed:
    """How far the loops have read. `services`: command type -> its service's group offsets."""

    router: Mapping[Place, int]
    services: Mapping[str, Mapping[Place, int]]


def awaited_of(process: Process) -> Iterator[Awaited]:
    """Its commands and undos under way. What another process was told is in the inbox, which is folded whole."""
    for record in process.awaited():
        if record.topic == INBOX:
            continue
        headers = dict(record.headers)
        yield Awaited(process.id, _text(headers, "ce_id"), _text(headers, "ce_type"), record)


def judge_awaited(waiting: Iterable[Awaited], heard: Heard, passed: Passed) -> tuple[Finding, ...]:
    """`passed` was read before `heard`: an answer that was not there when its reader passed its place never comes."""
    return tuple(finding for one in waiting if (finding := _judge(one, heard, passed)) is not None)


def _judge(one: Awaited, heard: Heard, passed: Passed) -> Finding | None:
    sent, answer = heard.sent.get(one.command_id), heard.answered.get(one.command_id)
    if answer is not None:
        place = Place(answer.topic, answer.partition)
        if passed.router.get(place, 0) <= answer.offset:
            return None
        why = f"the answer to {one.command_id} is in {_where(answer)}, and the process has not heard it"
        return _finding(one, "answer-unheard", why)
    if sent is None:
        return _finding(one, "command-lost", f"{one.command_id} is not in {one.record.topic}")
    place = Place(sent.topic, sent.partition)
    if passed.services.get(one.type, {}).get(place, 0) <= sent.offset:
        return None
    why = f"{one.command_id}, in {_where(sent)}, was passed by its service without an answer"
    return _finding(one, "command-passed-over", why)


def _finding(one: Awaited, code: Code, why: str) -> Finding:
    return Finding(code, partition_of(one.process_id, SHARDS), one.process_id, why, REPAIR)


def _where(record: IncomingRecord) -> str:
    return f"{record.topic}/{record.partition} at {record.offset}"


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode(errors="replace")
