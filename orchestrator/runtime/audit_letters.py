"""Dead letters that name a process which waits, or one that never began. Pure.

A dead letter alone strands nothing: most are answered, and garbage starts nothing. What is told is a command or an
answer that somebody still waits for, and a start whose process is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contracts.ids import partition_of
from contracts.record import IncomingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.audit import Finding
from orchestrator.runtime.audit_deep import Awaited
from orchestrator.runtime.dead_letters import without_prefixes
from orchestrator.runtime.routing import Routing

LETTERS_MAX = 10_000
"""Letters of starts that one audit follows."""
REPLAY = "counterpoint dead-letters replay {}"
StartsOf = Callable[[IncomingRecord], Sequence[str]]
"""The processes that a dead-lettered record would have started; none if it is no start, or cannot be read."""


@dataclass(slots=True)
class Letters:
    """Mutable: `take` folds a dead letter in. By command id: the last letter with the command itself, and the last one
    with an answer to it; by process id: the last one with its start."""

    wanted: Mapping[str, Awaited]
    starts_of: StartsOf
    commands: dict[str, IncomingRecord] = field(default_factory=dict)
    answers: dict[str, IncomingRecord] = field(default_factory=dict)
    starts: dict[str, IncomingRecord] = field(default_factory=dict)

    def take(self, record: IncomingRecord) -> None:
        headers = dict(record.headers)
        command_id, causation_id = _text(headers, "ce_id"), _text(headers, "ce_causationid")
        if command_id in self.wanted:
            self.commands[command_id] = record
        elif causation_id in self.wanted and _text(headers, "ce_processid") == self.wanted[causation_id].process_id:
            self.answers[causation_id] = record
        elif len(self.starts) < LETTERS_MAX:
            self.starts.update(dict.fromkeys(self.starts_of(record), record))


def starts_of(book: SagaBook) -> StartsOf:
    """What the router and the engine would have made of a record, but for the reason why they gave it up."""
    routing = Routing(book)

    def starts(record: IncomingRecord) -> Sequence[str]:
        headers = dict(record.headers)
        if not book.routes(_text(headers, "ce_type")):
            return ()
        if _text(headers, "dl_topic") == INBOX:
            return () if record.key is None else (record.key.decode(errors="replace"),)
        routed = routing.route(record._replace(key=None, headers=without_prefixes(record.headers, ("dl_",))))
        first = len(routed.inbox) - routed.starts
        return tuple((one.key or b"").decode() for one in routed.inbox[first:])

    return starts


def told_by(letters: Letters, finding: Finding, command_id: str) -> Finding:
    """A command that was passed over, or an answer that was not heard, with the dead letter that explains it."""
    letter = letters.commands.get(command_id) if finding.code == "command-passed-over" else None
    if letter is not None:
        why = f"{command_id} was given up by {_by(letter)}, and its process still waits: {_reason(letter)}"
        return replace(finding, code="command-dead-lettered", why=why, frees=REPLAY.format(address(letter)))
    letter = letters.answers.get(command_id) if finding.code == "answer-unheard" else None
    if letter is not None:
        why = f"an answer to {command_id} was given up by {_by(letter)}: {_reason(letter)}"
        return replace(finding, code="answer-dead-lettered", why=why, frees=REPLAY.format(address(letter)))
    return finding


def never_began(process_id: str, letter: IncomingRecord) -> Finding:
    """A start that was given up, and whose process is not there."""
    why = f"its start was given up by {_by(letter)}, and it never began: {_reason(letter)}"
    return Finding(
        "start-dead-lettered", partition_of(process_id, SHARDS), process_id, why, REPLAY.format(address(letter))
    )


def address(letter: IncomingRecord) -> str:
    """As `counterpoint dead-letters` names it."""
    return f"{letter.topic}-{letter.partition}-{letter.offset}"


def _by(letter: IncomingRecord) -> str:
    return _text(dict(letter.headers), "dl_service") or letter.topic


def _reason(letter: IncomingRecord) -> str:
    headers = dict(letter.headers)
    return f"{_text(headers, 'dl_reason') or 'no reason'} {_text(headers, 'dl_detail')}".strip()


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode(errors="replace")
