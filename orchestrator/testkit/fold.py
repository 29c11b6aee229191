"""One process, folded input by input, with everything checked that must hold for every saga (see invariants.py)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from contracts.record import OutgoingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.history import decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.testkit import invariants
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.reading import Sent, read_sent


@dataclass(frozen=True, slots=True)
class Fed:
    """What one input led to, under the build that had `book`."""

    book: SagaBook
    item: Input
    before: Process | None
    decision: Decision
    sent: tuple[Sent, ...]

    @property
    def notes(self) -> str:
        """What the history says of it, for people."""
        return "" if self.decision.history is None else " ".join(decode_entry(self.decision.history).notes)

    @property
    def after(self) -> Process | None:
        return self.decision.process


@dataclass(slots=True)
class Fold:
    """Raises Broken as soon as an invariant does not hold.

    `refold_each`: after every input, fold all inputs again from nothing (the cost grows with the square of the length;
    without it, call `refold` once at the end).
    """

    book: SagaBook
    plan: Plan
    process_id: str
    refold_each: bool = True
    process: Process | None = None
    fed: list[Fed] = field(default_factory=list)
    records: dict[str, OutgoingRecord] = field(default_factory=dict)
    """Everything published so far, by message id."""

    def feed(self, item: Input) -> Fed:
        before = self.process
        blob = None if before is None else encode_process(before)
        decision = decide(self.book, before, item)
        twin = decide(self.book, None if blob is None else decode_process(blob), item)
        if decision != twin:
            raise Broken("a process that was stored and loaded decides otherwise than one that stayed in memory")
        if before is not None and encode_process(before) != blob:
            raise Broken("a decision has changed the process that it was given")
        if decision.process is not None and decision.process.version != self.plan.saga.version:
            self.plan = self.book.plan(decision.process.saga, decision.process.version)
        sent = tuple(self._read(record, decision) for record in decision.effects)
        fed = Fed(self.book, item, before, decision, sent)
        self.process = decision.process
        self.fed.append(fed)
        invariants.check(self.plan, item, before, decision, sent)
        if self.refold_each:
            self.refold()
        return fed

    def refold(self) -> None:
        """The same inputs give the same decisions again, byte for byte."""
        process: Process | None = None
        for fed in self.fed:
            decision = decide(fed.book, process, fed.item)
            process = decision.process
            if decision != fed.decision:
                raise Broken(f"offset {fed.item.offset}: folded again, the same input is decided otherwise")
        if process is not None and self.process is not None and encode_process(process) != encode_process(self.process):
            raise Broken("folded again, the same inputs give another state")

    def _read(self, record: OutgoingRecord, decision: Decision) -> Sent:
        steps = {} if decision.process is None else decision.process.steps
        renamed = {step.sent_as: key for key, step in steps.items() if step.sent_as is not None}
        sent = read_sent(self.plan, self.process_id, record, again=False, renamed=renamed)
        if sent.kind == "dead-letter":
            return sent  # under the id of a stranger, who may say it again
        if decision.process is not None and decision.process.phase == "expired" and invariants.says_never(sent):
            return sent  # a tombstone does not know what it has answered; for who has heard, this is nothing new
        known = self.records.get(sent.id)
        if known is None:
            self.records[sent.id] = record
            return sent
        if known != record:
            raise Broken(f"{sent.id} is sent again with other bytes")
        if sent.kind not in ("command", "undo"):
            raise Broken(f"{sent.id} is published twice")
        return replace(sent, again=True)
