"""What must be true, known at once: every input is folded here the moment the log has it.

The engine folds later, in pieces, with restarts and stores that go back in time; whatever it publishes, commits or
stores is compared with this fold: effects byte for byte, states and history byte for byte at every checkpoint, and
nothing committed or stored whose effects are not in the log yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contracts.envelope import decode_headers
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.limits import PermitDeferred, PermitGranted, PermitReleased, PermitRequested
from contracts.process import ApprovalGiven, CancelRequested, ChildEnded, ClockProbe, OperatorAction, SignalSent
from contracts.record import Headers, IncomingRecord, OutgoingRecord
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.children import TO_CHILD
from orchestrator.engine.decision import LimiterMeasure
from orchestrator.engine.inputs import InputError, read_input
from orchestrator.engine.limiter import LIMITER_PREFIX
from orchestrator.engine.process import Process, encode_process
from orchestrator.language.blocks import ON_STUCK
from orchestrator.runtime.store import Checkpoint, WriteResult
from orchestrator.testkit.fold import Fed, Fold
from orchestrator.testkit.judge import Judge
from tests.simulation.limiters import LimiterFold, LimiterJudge

STATE_BYTES_MAX = 64 * 1024
BETWEEN_PROCESSES = frozenset(
    (
        *TO_CHILD,
        ChildEnded.type,
        *(kind.type for kind in (PermitRequested, PermitGranted, PermitDeferred, PermitReleased)),
    )
)
"""What the engine writes into the inbox of another process."""


@dataclass(slots=True)
class Followed:
    """One process as it must be."""

    fold: Fold | LimiterFold
    judge: Judge | LimiterJudge
    blobs: list[tuple[int, bytes]] = field(default_factory=list)
    """(offset of the input, state after it)."""
    history: list[tuple[int, bytes]] = field(default_factory=list)
    whole: Process | None = None
    """The last state of which not all is forgotten."""
    successes: set[str] = field(default_factory=set)
    """Ids of commands that have succeeded."""
    too_late: set[str] = field(default_factory=set)
    """Those of which this was first heard when all was forgotten (an alert, decision 0046): nobody undoes that."""

    @property
    def process(self) -> Process | None:
        return self.fold.process

    def blob_at(self, next_offset: int) -> bytes | None:
        return next((blob for offset, blob in reversed(self.blobs) if offset < next_offset), None)


class Oracle:
    """`broken` hears of every violation; `say` is for traces."""

    def __init__(self, book: SagaBook, broken: Callable[[str], None], say: Callable[[str], None]) -> None:
        self._book = book
        self._broken = broken
        self._say = say
        self.processes: dict[str, Followed] = {}
        self.expected: dict[str, OutgoingRecord] = {}
        """By message id: all effects that the engine may publish."""
        self.unpublished: dict[int, dict[str, int]] = {}
        """Shard -> message id -> offset of the input that demands it first."""
        self.on_fed: Callable[[Followed, Fed], None] = lambda followed, fed: None
        """Hears of every input once it is folded."""
        self.seen: Counter[str] = Counter()
        """What happened in this run, for the table of coverage."""
        self.inputs = 0
        self.strange = 0
        """Inbox records that are no input."""

    # What is appended.

    def appended(self, record: IncomingRecord, ours: bool) -> None:
        """`ours`: the orchestrator wrote it, and must have had a reason."""
        if record.topic == INBOX:
            if ours and dict(record.headers).get("ce_type", b"").decode() in BETWEEN_PROCESSES:
                self._effect(record)
            self._input(record)
        elif ours and record.topic == ORCHESTRATOR_DEAD_LETTERS:
            self._dead_letter(record)
        elif ours:
            self._effect(record)

    def _input(self, record: IncomingRecord) -> None:
        try:
            item = read_input(record)
        except InputError:
            self.strange += 1
            return
        followed = self.processes.get(item.process_id) or self._follow(item.process_id)
        if followed is None:
            self.strange += 1
            return
        self.inputs += 1
        try:
            fed = followed.fold.feed(item)
            followed.judge.see(fed)
        except AssertionError as error:
            self._broken(f"{item.process_id}, offset {record.offset}: {error}")
            return
        self._note(followed, fed, record.partition)
        self.on_fed(followed, fed)

    def _follow(self, process_id: str) -> Followed | None:
        if process_id.startswith(LIMITER_PREFIX):
            limiter = self.processes[process_id] = Followed(LimiterFold(self._book), LimiterJudge())
            return limiter
        saga = process_id.split(":", 1)[0]
        plan = next((plan for plan in self._book.plans() if plan.saga.name == saga), None)
        if plan is None:
            return None
        fold = Fold(self._book, plan, process_id, refold_each=False)
        followed = self.processes[process_id] = Followed(fold, Judge(plan, process_id))
        return followed

    def _note(self, followed: Followed, fed: Fed, shard: int) -> None:
        offset, decision = fed.item.offset, fed.decision
        about = fed.item.envelope.causation_id or fed.item.envelope.id
        sent = ", ".join(str(one) for one in fed.sent)
        verdict = decision.reason or (fed.after.phase if fed.after else "nothing")
        self._say(f"input {shard}/{offset} {fed.item.envelope.type} {about}: {verdict}; {sent or 'sends nothing'}")
        if decision.process is not None:
            blob = encode_process(decision.process)
            if len(blob) > STATE_BYTES_MAX:
                self._broken(f"{fed.item.process_id}: the state has {len(blob)} bytes")
            followed.blobs.append((offset, blob))
        if decision.process is None or decision.process.phase != "expired":
            followed.whole = decision.process
        elif decision.alerts and about not in followed.successes:
            followed.too_late.add(about)
        if fed.item.envelope.type in self._book.success_types:
            followed.successes.add(about)
        if decision.forget:
            followed.history.clear()
        if decision.history is not None:
            followed.history.append((offset, decision.history))
        for sent_one in fed.sent:
            identity = sent_one.id
            if sent_one.kind == "dead-letter":
                identity = dead_letter_of(sent_one.record.headers)
                self.seen["never started"] += 1
            if identity not in self.expected:
                self.expected[identity] = sent_one.record
                self.unpublished.setdefault(shard, {})[identity] = offset
        self._count(fed)

    def _count(self, fed: Fed) -> None:
        kind, decision = fed.item.envelope.type, fed.decision
        verdict = decision.result if decision.reason is None else f"ignored: {decision.reason}"
        early = " before its process" if fed.before is None and decision.result == "buffered" else ""
        self.seen[f"input {verdict}{early}"] += 1
        if kind in TO_CHILD:
            self.seen[f"child {kind.split('.')[1]} {verdict}"] += 1
        elif kind == ChildEnded.type and decision.result == "applied":
            self.seen[f"child ended {ChildEnded.model_validate_json(fed.item.data).phase}"] += 1
        elif kind == PermitReleased.type:
            self.seen[f"permit released {verdict}"] += 1
        self.seen["forgotten"] += decision.forget
        for sent in fed.sent:
            if sent.step.startswith(f"{ON_STUCK}["):
                self.seen["alert"] += 1
        for measure in decision.measures:
            if isinstance(measure, LimiterMeasure):
                self.seen["permit granted"] += measure.granted
                self.seen["permit waited for"] += measure.waiting > 0
                self.seen["lease ended"] += measure.expired
        if kind == OperatorAction.type:
            action = OperatorAction.model_validate_json(fed.item.data)
            more = " with correction" if action.correction else " with outcome" if action.outcome else ""
            self.seen[f"operator {action.action}{more} {verdict}"] += 1
        elif kind in (CancelRequested.type, ApprovalGiven.type, SignalSent.type):
            self.seen[f"person {kind.split('.')[1]} {verdict}"] += 1

    def _dead_letter(self, record: IncomingRecord) -> None:
        """The engine's (the router's are judged at the end)."""
        if dict(record.headers).get("dl_reason") == b"never-started":
            self._check(dead_letter_of(record.headers), record)

    def _effect(self, record: IncomingRecord) -> None:
        envelope = decode_headers(record.headers)
        if envelope.source != ORCHESTRATOR_SOURCE or envelope.type == ClockProbe.type:
            return
        self._check(envelope.id, record)

    def _check(self, identity: str, record: IncomingRecord) -> None:
        wanted = self.expected.get(identity)
        if wanted is None:
            kind = dict(record.headers).get("ce_type", b"").decode()
            self._broken(f"{identity} ({kind}) is published, but no input demands it")
            return
        if (wanted.topic, wanted.key, wanted.value, wanted.headers) != (
            record.topic, record.key, record.value, record.headers,
        ):  # fmt: skip
            self._broken(f"{identity} is published with other bytes than its input demands")
        for waiting in self.unpublished.values():
            waiting.pop(identity, None)

    # What is committed and stored.

    def committed(self, offsets: Mapping[int, int]) -> None:
        """The engine group's offsets: how far effects are published."""
        for shard, offset in offsets.items():
            self._published_below(shard, offset, "the group's offset is committed")

    def stored(self, checkpoint: Checkpoint, result: WriteResult) -> None:
        if result is not WriteResult.WRITTEN:
            return
        position = checkpoint.position.next
        self._published_below(checkpoint.shard, position, "a checkpoint is stored")
        for write in checkpoint.writes:
            followed = self.processes.get(write.process_id)
            wanted = None if followed is None else followed.blob_at(position)
            if wanted != write.blob:
                self._broken(f"{write.process_id}: at offset {position} another state is stored than the log gives")

    def _published_below(self, shard: int, position: int, what: str) -> None:
        for identity, offset in self.unpublished.get(shard, {}).items():
            if offset < position:
                self._broken(
                    f"{what} at {position} of shard {shard}, but {identity} (offset {offset}) is not published"
                )
                return


def dead_letter_of(headers: Headers) -> str:
    """Stands for the dead letter of an early message: its id is a stranger's, its place is not."""
    found = dict(headers)
    return f"dead letter of {found['dl_partition'].decode()}/{found['dl_offset'].decode()}"
