"""Parents and children folded together: what one process publishes for another really arrives there.

Each process has its own fold and inbox, as if on a shard of its own. `deliver` hands over what is on its way between
two of them, in the order in which it was sent; who tells the story decides when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from contracts.message import Event
from contracts.process import CancelRequested, OperatorAction
from contracts.record import OutgoingRecord
from contracts.topics import INBOX
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import Input
from orchestrator.engine.limiters_memory import MemoryLimiters, is_for_limiter
from orchestrator.engine.process import Process
from orchestrator.language.saga import Saga
from orchestrator.testkit.answers import failure
from orchestrator.testkit.fold import Fed, Fold
from orchestrator.testkit.inbox import FIRST_MS, Inbox
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.reading import Sent

DELIVERIES_MAX = 10_000
"""More is a line that never falls silent."""


class Family:
    """Processes of `sagas`. Raises Broken as soon as one of them does what no process may."""

    def __init__(self, sagas: Sequence[Saga], *, refold_each: bool = True) -> None:
        self.book = SagaBook(sagas)
        self.folds: dict[str, Fold] = {}
        self.inboxes: dict[str, Inbox] = {}
        self.lines: dict[str, deque[OutgoingRecord]] = {}
        """By receiver: what is on its way to it."""
        self.sent: dict[str, Sent] = {}
        """Every command and undo to a participant, by id."""
        self.limiters = MemoryLimiters()
        """What they answer is on its way like all else."""
        self.now_ms = FIRST_MS
        self._refold_each = refold_each

    def starts(self, saga: Saga, event: Event) -> str:
        """Returns the id of the process."""
        identity = f"{saga.name}:{saga.key(event)}"
        self._meet(identity)
        self.feed(identity, self._inbox(identity).start(event, id=f"start-{identity}", source="/test/origin"))
        return identity

    def feed(self, identity: str, item: Input) -> Fed:
        fed = self.folds[identity].feed(item)
        for sent in fed.sent:
            if is_for_limiter(sent.record):
                for record in self.limiters.tell([sent.record], self.now_ms):
                    self._send(record)
            elif sent.record.topic == INBOX:
                self._send(sent.record)
            elif sent.kind in ("command", "undo"):
                self.sent[sent.id] = sent
        return fed

    def _send(self, record: OutgoingRecord) -> None:
        self.lines.setdefault((record.key or b"").decode(), deque()).append(record)

    def deliver(self, receiver: str | None = None) -> int:
        """Hand over all that is on its way, and what that leads to; to `receiver`, only the next message. Returns how
        many messages there were."""
        if receiver is not None:
            self._hand_over(receiver)
            return 1
        for number in range(DELIVERIES_MAX):
            waiting = next((name for name, line in self.lines.items() if line), None)
            if waiting is None:
                return number
            self._hand_over(waiting)
        raise Broken(f"more than {DELIVERIES_MAX} messages between processes")

    def _hand_over(self, receiver: str) -> None:
        record = self.lines[receiver].popleft()
        self._meet(receiver)
        self.feed(receiver, self._inbox(receiver).published(record))

    def answers(self, sent_id: str, event: Event | None = None, *, effect: str | None = None) -> Fed:
        """A participant answers a command or an undo. `effect`: it has failed, for good."""
        sent = self.sent[sent_id]
        owner = sent.envelope.process_id
        assert owner is not None
        said = event if event is not None else failure(sent, "none" if effect == "none" else "unknown", False)
        return self.feed(owner, self._inbox(owner).answer(said, sent_id))

    def cancels(self, identity: str) -> Fed:
        """A person calls a process off."""
        asked = CancelRequested(process_id=identity, operator="ann")
        return self.feed(identity, self._inbox(identity).control(asked))

    def operator(self, identity: str, action: str, step: str | None = None, **fields: object) -> Fed:
        """A person decides about a stuck process."""
        seen = {"process_id": identity, "revision": self.process(identity).revision, "operator": "ann"}
        asked = OperatorAction.model_validate({**seen, "action": action, "step": step, **fields})
        return self.feed(identity, self._inbox(identity).operator(asked))

    def fires(self, identity: str, timer_id: str) -> Fed:
        due_ms = self.process(identity).timers[timer_id]
        self.now_ms = max(self.now_ms, due_ms)
        return self.feed(identity, self._inbox(identity).timer(timer_id, due_ms))

    def process(self, identity: str) -> Process:
        process = self.folds[identity].process
        assert process is not None, f"there is no process {identity}"
        return process

    def phases(self) -> dict[str, str]:
        """Of all processes."""
        return {name: fold.process.phase for name, fold in self.folds.items() if fold.process is not None}

    def _meet(self, identity: str) -> None:
        if identity in self.folds:
            return
        name = identity.partition(":")[0]
        plan = next(plan for plan in self.book.newest() if plan.saga.name == name)
        self.folds[identity] = Fold(self.book, plan, identity, refold_each=self._refold_each)
        self.inboxes[identity] = Inbox(identity, name, plan.saga.version)

    def _inbox(self, identity: str) -> Inbox:
        """A moment later: no two inputs of a family have the same time."""
        self.now_ms += round(timedelta(milliseconds=1).total_seconds() * 1000)
        self.inboxes[identity].now_ms = self.now_ms
        return self.inboxes[identity]
