"""Many processes and their limiters on one log in virtual time: what one publishes for another is read later.

Every record is folded by the real `decide`; participants answer every command. Chance (`random`) delays and repeats.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.process import TimerFired
from contracts.record import Headers, IncomingRecord, OutgoingRecord
from contracts.topics import INBOX
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import LimiterMeasure
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER, read_input
from orchestrator.engine.process import Process, encode_process
from orchestrator.language import Saga
from orchestrator.testkit.inbox import FIRST_MS
from orchestrator.testkit.lab import Begun, Done, Reverted

INPUTS_MAX = 500_000


@dataclass(frozen=True, slots=True)
class Sent:
    at_ms: int
    process: str
    step: str


@dataclass
class Fleet:
    saga: Saga
    random: Random = field(default_factory=lambda: Random(0))
    answer_ms: Callable[[Sent], int | None] = lambda sent: 20
    """How long a participant takes; None: it never answers, and nothing more is read for that process (it is lost)."""
    repeats: float = 0.0
    """How often a record for another process is appended twice."""
    lag_ms: int = 3
    """The longest way from one process to another."""
    now_ms: int = FIRST_MS
    processes: dict[str, Process] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    log: list[IncomingRecord] = field(default_factory=list)
    measures: list[LimiterMeasure] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.book = SagaBook([self.saga])
        self._numbers = itertools.count()
        self._coming: list[tuple[int, int, bytes, bytes, Headers]] = []

    def starts(self, key: str, at_ms: int) -> None:
        begun = Begun(job_id=key)
        headers = encode_headers(Envelope(id=f"start-{key}", source="/lab", type=begun.type))
        stamp = ((SAGA_HEADER, self.saga.name.encode()), (VERSION_HEADER, b"%d" % self.saga.version))
        self._append(at_ms, f"{self.saga.name}:{key}", begun.to_json(), (*headers, *stamp))

    def run(self) -> None:
        """Until nothing more comes."""
        for _ in range(INPUTS_MAX):
            if not self._coming:
                return
            at_ms, _, key, value, headers = heapq.heappop(self._coming)
            self.now_ms = at_ms
            self._fold(IncomingRecord(INBOX, 0, len(self.log), at_ms, key, value, headers))
        raise AssertionError(f"more than {INPUTS_MAX} inputs")

    def _append(self, at_ms: int, process: str, value: bytes, headers: Headers) -> None:
        heapq.heappush(self._coming, (at_ms, next(self._numbers), process.encode(), value, headers))

    def _fold(self, record: IncomingRecord) -> None:
        item = read_input(record)
        if item.process_id in self.lost:
            return
        self.log.append(record)
        before = self.processes.get(item.process_id)
        decision = decide(self.book, before, item)
        if decision.process is None:
            return
        self.processes[item.process_id] = decision.process
        self.measures += [one for one in decision.measures if isinstance(one, LimiterMeasure)]
        self._publish(item.process_id, decision.effects)
        self._set_timers(decision.process, {} if before is None else before.timers)

    def _publish(self, process: str, effects: Iterable[OutgoingRecord]) -> None:
        at_ms = self.now_ms + 1 + self.random.randrange(self.lag_ms)
        for record in effects:
            if record.topic == INBOX:
                assert record.key is not None
                for _ in range(2 if self.random.random() < self.repeats else 1):
                    self._append(at_ms, record.key.decode(), record.value, record.headers)
            elif record.topic == "lab.commands":
                self._command(process, record)

    def _command(self, process: str, record: OutgoingRecord) -> None:
        envelope = decode_headers(record.headers)
        step = envelope.id.split("/")[1]
        sent = Sent(self.now_ms, process, step)
        if envelope.undoes == ():
            self.sent.append(sent)
        took_ms = self.answer_ms(sent)
        if took_ms is None:
            self.lost.add(process)
            return
        outcome: Done | Reverted = (
            Done(job_id="j", step=step) if envelope.undoes == () else Reverted(job_id="j", step=step)
        )
        headers = encode_headers(
            Envelope(
                id=f"answer-{envelope.id}",
                source="/lab",
                type=outcome.type,
                process_id=process,
                causation_id=envelope.id,
            )
        )
        self._append(self.now_ms + took_ms, process, outcome.to_json(), headers)

    def _set_timers(self, process: Process, before: dict[str, int]) -> None:
        for timer_id, due_ms in process.timers.items():
            if before.get(timer_id) != due_ms:
                fired = TimerFired(process_id=process.id, timer_id=timer_id, due_ms=due_ms)
                identity = f"{process.id}/timer/{timer_id}/{due_ms}"
                headers = encode_headers(Envelope(id=identity, source=ORCHESTRATOR_SOURCE, type=fired.type))
                at_ms = max(self.now_ms, due_ms) + self.random.randrange(100)
                self._append(at_ms, process.id, fired.to_json(), headers)

    def folded_again(self) -> dict[str, bytes]:
        """The whole log once more, from nothing."""
        processes: dict[str, Process] = {}
        for record in self.log:
            item = read_input(record)
            decision = decide(self.book, processes.get(item.process_id), item)
            if decision.process is not None:
                processes[item.process_id] = decision.process
        return {name: encode_process(process) for name, process in processes.items()}

    def most_at_once(self, took_ms: int) -> int:
        """The most commands under way together, if each takes so long."""
        changes = sorted(change for sent in self.sent for change in ((sent.at_ms, 1), (sent.at_ms + took_ms, -1)))
        return max(itertools.accumulate(change for _, change in changes))

    def most_within(self, window_ms: int) -> int:
        """The most commands sent in any window."""
        times, most, first = sorted(sent.at_ms for sent in self.sent), 0, 0
        for place, at_ms in enumerate(times):
            while times[first] <= at_ms - window_ms:
                first += 1
            most = max(most, place - first + 1)
        return most
