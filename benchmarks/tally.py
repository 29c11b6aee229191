"""What the log says about a run of orders, counted: has every one ended, and was anything done twice? Pure.

A message is what its id says: the same id again is the same message (a re-send after a silence), and none is counted
twice for it. *Twice* is a second id where there may be one only: two ends of a process, two answers to one command.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from contracts.envelope import EnvelopeError, decode_headers
from contracts.record import IncomingRecord
from contracts.topics import LIFECYCLE

ENDS = ("process-completed", "process-compensated", "process-cancelled")
STARTED = "process-started"


@dataclass(slots=True)
class Tally:
    """Mutable: `take` folds one record in. Only processes with `prefix` count."""

    prefix: str
    started: set[str] = field(default_factory=set)
    ends: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Process -> ids of its ends."""
    commands: set[str] = field(default_factory=set)
    answers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Command id -> ids of its answers."""
    sent_again: int = 0

    def take(self, record: IncomingRecord) -> None:
        try:
            envelope = decode_headers(record.headers)
        except EnvelopeError:
            return
        if record.topic == LIFECYCLE:
            process = (record.key or b"").decode()
            if process.startswith(self.prefix):
                self._phase(process, envelope.type.split(".")[1], envelope.id)
        elif envelope.process_id is None or not envelope.process_id.startswith(self.prefix):
            return
        elif record.topic.endswith(".commands"):
            self.sent_again += envelope.id in self.commands
            self.commands.add(envelope.id)
        elif envelope.causation_id is not None:
            self.answers[envelope.causation_id].add(envelope.id)

    def _phase(self, process: str, kind: str, id: str) -> None:
        if kind == STARTED:
            self.started.add(process)
        elif kind in ENDS:
            self.ends[process].add(id)

    def problems(self, orders: int) -> list[str]:
        """What does not hold, as sentences: none is right."""
        twice = sum(len(ids) > 1 for ids in self.ends.values())
        contradicted = sum(len(self.answers[id]) > 1 for id in self.commands)
        unanswered = sum(not self.answers[id] for id in self.commands)
        stray = len(self.answers.keys() - self.commands)
        found = {
            f"{orders - len(self.started)} of {orders} orders have not started": len(self.started) != orders,
            f"{orders - len(self.ends)} of {orders} processes have not ended": len(self.ends) != orders,
            f"{twice} processes have ended twice": twice,
            f"{contradicted} commands have two answers": contradicted,
            f"{unanswered} commands have no answer": unanswered,
            f"{stray} answers are to commands that nobody sent": stray,
        }
        return [sentence for sentence, wrong in found.items() if wrong]
