"""The state of one process: immutable values, stored as one msgpack blob.

Every struct is a map with short names on the wire and defaults left out, so that newer code reads older states. Bodies
and sent commands are kept as bytes: what was sent is sent again byte for byte.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.ids import partition_of
from contracts.process import Phase
from contracts.record import Headers, OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.language.injection import CauseReason, Ending

ENGINE_SEMANTICS = 2
"""Raised with every change that would make the fold of the same inputs give another state."""

TryState = Literal["awaited", "succeeded", "refused", "none", "unknown", "silent"]
"""`none`: failed without effect. `unknown`: answered that the effect cannot be ruled out. `silent`: patience ended."""
ProcessPhase = Literal[Phase, "early", "limiter", "expired"]
"""The last three are the engine's own: nobody is told of them, and no index has them (docs/decisions/
0072-early-events.md, 0079-limits.md, 0046-expiry.md)."""
PERHAPS: frozenset[TryState] = frozenset(("unknown", "silent"))

StepStatus = Literal[
    "idle",
    "limited",
    "awaiting",
    "backoff",
    "waiting",
    "blocked",
    "succeeded",
    "failed",
    "perhaps",
    "skipped",
    "emitted",
]
"""`limited`: waits for a permit. `awaiting`: a command's answer, or a child's end. `waiting`: an event, a signal or an
approval."""
UndoStatus = Literal["awaited", "backoff", "stuck", "done", "skipped"]
NodeStatus = Literal["running", "done", "undoing", "undone"]


class Struct(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Frozen; `msgspec.structs.replace` makes a changed copy.

    `gc=False`: frozen values of frozen values cannot form a cycle, so the collector need not look at them. It otherwise
    walked through every cached process again and again.
    """


class Value(msgspec.Struct, frozen=True, gc=False):
    """What lives for one decision: frozen as a dataclass is, and made in a twentieth of its time (0.04 us, not 0.8)."""


_encoder = msgspec.msgpack.Encoder()
_headers_decoder = msgspec.msgpack.Decoder(Headers)


class StoredRecord(Struct, frozen=True, rename={"topic": "t", "key": "k", "value": "v", "headers": "h"}):
    """A sent message, byte for byte."""

    topic: str
    key: bytes | None
    value: bytes
    headers: msgspec.Raw
    """As they are stored: hardly a message is sent twice, but each is written with every checkpoint of its process. As
    pairs they were most of what the collector had to look at."""

    @classmethod
    def of(cls, record: OutgoingRecord) -> StoredRecord:
        headers = msgspec.Raw(_encoder.encode(record.headers))
        return cls(topic=record.topic, key=record.key, value=record.value, headers=headers)

    def outgoing(self) -> OutgoingRecord:
        shard = partition_of((self.key or b"").decode(), SHARDS) if self.topic == INBOX else None
        return OutgoingRecord(self.topic, self.key, self.value, _headers_decoder.decode(self.headers), shard)


class Try(Struct, frozen=True, rename={"number": "n", "state": "s", "sent_at_ms": "a"}):
    number: int
    state: TryState
    sent_at_ms: int


class Outcome(Struct, frozen=True, rename={"type": "t", "data": "d", "try_number": "n"}):
    """`try_number` 0: given by an operator who skipped the step."""

    type: str
    data: bytes
    try_number: int


class UndoJob(Struct, frozen=True):
    """One undo of some tries of a step, over as many attempts as it takes. `numbers` are its attempts' `undo/<n>`."""

    numbers: tuple[int, ...]
    covers: tuple[str, ...]
    status: UndoStatus
    sent_at_ms: int = 0
    attempts: int = 1
    """Attempts since the start, or since an operator's last retry."""
    record: StoredRecord | None = None
    outcome: Outcome | None = None
    """What the builder sees of the step itself, until the undo is built (None: perhaps done)."""
    again: tuple[Outcome, ...] = ()
    """Late successes that came while this undo was under way: each gets one more undo."""


class StepState(Struct, frozen=True):
    status: StepStatus = "idle"
    tries: tuple[Try, ...] = ()
    record: StoredRecord | None = None
    """The last command sent, while a new try or a re-send may need it."""
    outcome: Outcome | None = None
    refusal: Outcome | None = None
    undoing: bool = False
    undone: bool = False
    """Its parent has been told that nothing is left to undo (a late success may still open another undo)."""
    undos: tuple[UndoJob, ...] = ()
    budget: int = 0
    """Tries that the retry policy had used up when an operator asked for more."""
    renew: bool = False
    """An operator asked for a retry of a silent try: if the answer is `effect=none`, a new try follows at once."""
    detail: str | None = None
    """What a blocked step's builder raised, or why the last try failed."""
    child: str | None = None
    """The process that this step started."""
    sent_as: str | None = None
    """The path in its commands' ids, if a migration has renamed the step since the first was sent."""
    escalated: bool = False
    """Of an approval: the role of its escalation may decide as well."""


_NODE_NAMES = {"status": "s", "count": "c", "begun": "b", "items": "i", "undone": "u", "told": "t"}


class NodeState(Struct, frozen=True, rename=_NODE_NAMES):
    """State of a block that is no step. What `count` counts, each block's file says."""

    status: NodeStatus
    count: int = 0
    begun: int = 0
    """Elements that were started (going forward) or are still to be undone (going backward)."""
    items: tuple[bytes, ...] = ()
    """The elements of a `for_each`, as JSON, fixed when it starts."""
    undone: tuple[int, ...] = ()
    """Alternatives of a `fallback` of which nothing is left."""
    told: tuple[int, ...] = ()
    """Elements of a `for_each` that were under way when it was to be undone, the last one first."""


class Start(Struct, frozen=True):
    """The message that started the process."""

    source: str
    id: str
    type: str
    data: bytes
    fingerprint: str
    traceparent: str


_EARLY_NAMES = {"type": "t", "data": "d", "headers": "h", "key": "k", "offset": "o", "at_ms": "a"}


class Early(Struct, frozen=True, rename=_EARLY_NAMES):
    """An event or signal that came before its block has begun; kept in order. See orchestrator.engine.arrivals."""

    type: str
    """As captured: an event's type, or `signal/<name>`."""
    data: bytes
    headers: Headers = ()
    """Of the message, while there is no process yet: it may go to dead letters. The same holds for what follows."""
    key: str = ""
    offset: int = -1
    """In the inbox."""
    at_ms: int = 0


NO_START = Start(source="", id="", type="", data=b"", fingerprint="", traceparent="")
"""Of a process that has not begun: only early messages are kept for it."""


class Cause(Struct, frozen=True):
    reason: CauseReason
    step: str | None = None
    detail: str | None = None

    @property
    def ending(self) -> Ending:
        """What builders are told."""
        return Ending("operator" if self.reason == "parent" else self.reason, self.step)


class Parentage(Struct, frozen=True):
    """Who started a process that is a child, and what that parent has asked for since."""

    process: str
    step: str
    """Its path in the parent."""
    start: str
    """The id of the message that started the child: its end answers that."""
    undo: str | None = None
    """The id of the last message by which the parent wanted it undone: its end answers that one instead."""
    released: bool = False
    """The parent has ended for good."""


PermitState = Literal["asked", "deferred", "due", "held"]


class Permit(Struct, frozen=True):
    """What an address (a step's key, or `#saga`) has of its limits. `stage` counts those that are behind it."""

    request: str
    """The one that is asked for now, or was granted last."""
    limiter: str
    """The process id of whom it is asked."""
    state: PermitState
    stage: int = 0
    asked_at_ms: int = 0
    """When this stage began."""
    renewed_at_ms: int = 0
    """When the leases of what is held began; that of the oldest."""
    due_ms: int = 0
    """When what was granted may be used."""
    late: int = 0
    """Slots of this stage that came too late to be used."""
    held: tuple[tuple[str, str], ...] = ()
    """What concurrencies have granted: limiter and request."""


class Limiter(Struct, frozen=True):
    """State of a limiter (see orchestrator.engine.limiter): that of a rate, or that of a concurrency."""

    next_us: int = 0
    """Rate: the theoretical arrival time of the next permit, microseconds since the epoch."""
    leases: dict[str, int] = {}
    """Concurrency: request -> when it is free again at the latest, milliseconds since the epoch."""
    waiting: tuple[dict[str, int], ...] = ()
    """Concurrency: requests -> lease in milliseconds, in order, in pieces."""
    size: int = 0
    """Characters of all these requests."""
    count: int = 0
    """Concurrency: permits in all, as the last request says."""


class Process(Struct, frozen=True):
    """One running instance of a saga; in phase `early`, what is kept for one that has not begun; in phase `limiter`, a
    limiter; in phase `expired`, that there was one."""

    id: str
    saga: str
    version: int
    phase: ProcessPhase
    started_at_ms: int
    updated_at_ms: int
    start: Start = NO_START
    revision: int = 0
    """Counts applied inputs; an operator's action names the one that was seen."""
    steps: dict[str, StepState] = {}
    nodes: dict[str, NodeState] = {}
    timers: dict[str, int] = {}
    """Timer id -> due time, milliseconds since the epoch, broker time."""
    stuck: dict[str, str] = {}
    """Address (`<step>` or `<step>/undo`) -> reason."""
    cause: Cause | None = None
    ended: Phase | None = None
    """The final phase, once reached (kept while a late undo has the process stuck)."""
    past_pivot: bool = False
    deadline_passed: bool = False
    early: tuple[Early, ...] = ()
    seen: tuple[bytes, ...] = ()
    """Digests of the last messages that waiting blocks took or that were kept for them, the oldest first."""
    history_length: int = 0
    parent: Parentage | None = None
    permits: dict[str, Permit] = {}
    """By address; none of what has no limits."""
    limiter: Limiter | None = None
    expires_at_ms: int = 0
    """When it is forgotten (see orchestrator.engine.expiry); 0: not yet known."""

    @property
    def over(self) -> bool:
        """It has ended, and nobody can ask for its undo any more: it releases its own children."""
        return self.ended is not None and (self.parent is None or self.parent.released)

    @property
    def step(self) -> str | None:
        """Where it is stuck, or which step made it undo."""
        if self.stuck:
            return next(iter(self.stuck))
        return self.cause.step if self.cause else None

    @property
    def reason(self) -> str | None:
        """Why it is stuck, or why it is or was undone."""
        if self.stuck:
            return next(iter(self.stuck.values()))
        return self.cause.reason if self.cause else None

    def awaited(self) -> tuple[OutgoingRecord, ...]:
        """Commands and undos that are still awaited, as they were sent."""
        found = []
        for step in self.steps.values():
            if step.status == "awaiting" and step.record is not None:
                found.append(step.record.outgoing())
            found.extend(
                job.record.outgoing() for job in step.undos if job.status == "awaited" and job.record is not None
            )
        return tuple(found)


_decoder = msgspec.msgpack.Decoder(Process)


def encode_process(process: Process) -> bytes:
    return _encoder.encode(process)


def decode_process(blob: bytes) -> Process:
    """Raises msgspec.DecodeError or ValidationError if the blob is not a process."""
    return _decoder.decode(blob)
