"""One claimed shard: the fold of its inbox partition, and what of it is not in the store yet.

Does no I/O and never waits. The engine loop calls, in this order, for every batch: `read` -> `missing` -> `admit` ->
`fold`; publishes the effects; and only when every ack is there `accept`. What `fold` decided is invisible until
then, so that dropping it is always possible. `cut` and `confirm` move accepted work into the store, one segment at a
time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.record import IncomingRecord, OutgoingRecord
from orchestrator.engine.book import UnknownVersion
from orchestrator.engine.decision import Decision
from orchestrator.engine.inputs import Input, InputError
from orchestrator.engine.process import Process
from orchestrator.runtime.cache import ProcessCache
from orchestrator.runtime.checkpoint import process_write, record_id, removal
from orchestrator.runtime.claim import Claim
from orchestrator.runtime.dead_letters import dead_letter
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.store import Checkpoint, Loaded, ProcessWrite, ShardPosition

SEGMENT_INPUTS_MAX = 256
"""Inputs that one checkpoint covers at most, so that no script runs for more than a few milliseconds."""
SEGMENT_BYTES_MAX = 4 * 1024 * 1024
"""History bytes after which a segment is closed, for the same reason."""
TOUCHED_MAX = 10_000
"""Processes that a replay remembers for the final re-send; beyond it, what it has is sent at once."""


class StoreMoved(Exception):
    """The store is not where this owner left it: another owner wrote, or the store went back in time."""

    def __init__(self, shard: int, expected: int | None, found: int | None) -> None:
        super().__init__(f"shard {shard}: the stored position is {found}, this owner left it at {expected}")
        self.shard = shard


@dataclass(frozen=True, slots=True)
class Undecodable:
    """An inbox record that is no input: dead-lettered, counted, passed."""

    record: IncomingRecord
    code: str
    detail: str


Item = tuple[IncomingRecord, Input | Undecodable]


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a shard stops before an input, until another build runs. `code` is a metric label."""

    code: str
    text: str


@dataclass(slots=True)
class Segment:
    """Consecutive folded inputs: a consistent state of the shard at `next`."""

    next: int = 0
    last: IncomingRecord | None = None
    inputs: int = 0
    size: int = 0
    """Bytes of history."""
    states: dict[str, Process | None] = field(default_factory=dict)
    histories: dict[str, list[bytes]] = field(default_factory=dict)
    firsts: dict[str, int] = field(default_factory=dict)
    """The first offset of each process in here."""
    forgotten: set[str] = field(default_factory=set)
    """Processes whose history of before is dropped."""

    @property
    def full(self) -> bool:
        return self.inputs >= SEGMENT_INPUTS_MAX or self.size >= SEGMENT_BYTES_MAX


@dataclass(slots=True)
class Folded:
    """What one batch makes of a shard, before it is published."""

    segments: list[Segment] = field(default_factory=list)
    effects: list[OutgoingRecord] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    """Codes of the undecodable inputs."""
    suppressed: int = 0
    skipped: int = 0
    """Inputs that a process' snapshot has in it already."""
    resent: int = 0
    halt: Halt | None = None


class Shard:
    """Created by a claim, dropped on any doubt. `position` is the next offset to fold."""

    def __init__(
        self, number: int, rules: Rules, claim: Claim, cache_limit: int, ahead: Mapping[str, int] | None = None
    ) -> None:
        """`ahead`: the offsets from which on the processes want inputs that were restored from later snapshots."""
        self.number = number
        self.position = claim.next
        self.watermark = claim.watermark
        self.stored_next = claim.stored_next
        self.halted: Halt | None = None
        self.unstored_inputs = 0
        self._rules = rules
        self._ahead = ahead or {}
        self._cache = ProcessCache(cache_limit)
        self._folding = False
        self._segments: deque[Segment] = deque()
        self._in_flight: tuple[Segment, Checkpoint] | None = None
        self._touched: dict[str, Process] = {}
        self._own_positions: set[int | None] = set()
        """Where a load that is under way may find the store."""
        self._gap_at: int | None = None

    # One batch.

    def read(self, records: Sequence[IncomingRecord]) -> list[Item]:
        """The records that continue the fold; those below the position (read twice) are left out, and so is everything
        behind a gap: the caller seeks back to it, and a gap that is still there then is the log's own (a transaction's
        marker), and passed."""
        items: list[Item] = []
        expected, read = self.position, self._rules.read
        for record in records:
            if record.offset != expected:
                if record.offset < expected:
                    continue
                if self._gap_at != expected:
                    self._gap_at = expected
                    break
                expected = record.offset
            try:
                items.append((record, read(record)))
            except InputError as error:
                items.append((record, Undecodable(record, error.code, error.detail)))
            expected += 1
        return items

    def missing(self, items: Sequence[Item]) -> list[str]:
        """Ids that must be loaded before `fold`. Until `accept`, nothing leaves the cache."""
        self._folding = True
        self._own_positions = {self.stored_next}
        if self._in_flight is not None:
            self._own_positions.add(self._in_flight[1].position.next)
        cache = self._cache
        wanted = {item.process_id: None for _, item in items if type(item) is Input and item.process_id not in cache}
        return list(wanted)

    def admit(self, wanted: Sequence[str], loaded: Loaded) -> None:
        """Take in what was loaded since `missing`. Raises StoreMoved: nothing of it may be used.

        The write-behind goes on meanwhile, so the store may have answered at any position that this owner has written
        since. What is loaded has no part in what was written: that is pinned, so it cannot have been missing.
        """
        if loaded.next not in self._own_positions:
            raise StoreMoved(self.number, self.stored_next, loaded.next)
        decode = self._rules.decode
        for process_id, blob in zip(wanted, loaded.blobs, strict=True):
            self._cache.add(process_id, None if blob is None else decode(blob))

    def fold(self, items: Sequence[Item]) -> Folded:
        """Decide all inputs in order. Ends early, with `halt`, before an input that this build cannot decide."""
        folded, segment = Folded(), Segment()
        states: dict[str, Process | None] = {}
        for record, item in items:
            if self._touched and record.offset >= self.watermark:
                self._resend(folded)
            halt = self._fold_one(record, item, states, segment, folded)
            if halt is not None:
                folded.halt = halt
                break
            segment.next, segment.last = record.offset + 1, record
            segment.inputs += 1
            if segment.full:
                folded.segments.append(segment)
                segment = Segment()
        if segment.inputs:
            folded.segments.append(segment)
        if self._touched and folded.segments and folded.segments[-1].next >= self.watermark:
            self._resend(folded)
        return folded

    def _fold_one(
        self,
        record: IncomingRecord,
        item: Input | Undecodable,
        states: dict[str, Process | None],
        segment: Segment,
        folded: Folded,
    ) -> Halt | None:
        if type(item) is Undecodable:
            folded.dead_letters.append(item.code)
            letter = dead_letter(record, item.code, item.detail, record.timestamp_ms)
            self._emit(record, (letter,), folded)
            return None
        assert type(item) is Input
        key = item.process_id
        process = states[key] if key in states else self._cache.get(key).process
        if self._ahead and record.offset < self._ahead.get(key, 0):
            folded.skipped += 1
            if record.offset < self.watermark:
                self._touch(key, process, folded)
            return None
        try:
            decision = self._rules.decide(process, item)
        except UnknownVersion as error:
            return Halt("unknown-version", f"shard {self.number}, offset {record.offset}: {error}")
        except Exception as error:  # noqa: BLE001 - a bug in the engine stops this shard, loudly, and no other
            return Halt("engine-fault", f"shard {self.number}, offset {record.offset}, {key}: {error!r}")
        if decision.forget:
            segment.histories.pop(key, None)
            segment.forgotten.add(key)
        if decision.process is not process or decision.history is not None:
            assert decision.process is not None or decision.forget, "a process does not vanish"
            states[key] = segment.states[key] = decision.process
            segment.firsts.setdefault(key, record.offset)
            if record.offset < self.watermark:
                self._touch(key, decision.process, folded)
        if decision.history is not None:
            segment.histories.setdefault(key, []).append(decision.history)
            segment.size += len(decision.history)
        self._emit(record, decision.effects, folded)
        folded.decisions.append(decision)
        return None

    def _emit(self, record: IncomingRecord, effects: tuple[OutgoingRecord, ...], folded: Folded) -> None:
        if record.offset >= self.watermark:
            folded.effects.extend(effects)
        else:
            folded.suppressed += len(effects)

    def _touch(self, process_id: str, process: Process | None, folded: Folded) -> None:
        if process is None:
            self._touched.pop(process_id, None)
            return
        self._touched[process_id] = process
        if len(self._touched) > TOUCHED_MAX:
            self._resend(folded)

    def _resend(self, folded: Folded) -> None:
        """A replay has ended: what is still awaited is sent once more, byte for byte."""
        before = len(folded.effects)
        for process in self._touched.values():
            folded.effects.extend(process.awaited())
        folded.resent += len(folded.effects) - before
        self._touched.clear()

    def accept(self, folded: Folded) -> None:
        """Every effect is acknowledged: the fold counts."""
        for segment in folded.segments:
            self._join(segment)
            self.unstored_inputs += segment.inputs
        if folded.segments:
            self.position = folded.segments[-1].next
        self.halted = folded.halt
        self._folding = False
        self._cache.shrink()

    def _join(self, segment: Segment) -> None:
        last = self._segments[-1] if self._segments else None
        if last is None or last.inputs + segment.inputs > SEGMENT_INPUTS_MAX or last.full:
            last = Segment()
            self._segments.append(last)
        for process_id, process in segment.states.items():
            entry = self._cache.get(process_id)
            entry.process = process
            if process_id not in last.states:
                entry.pins += 1
            last.states[process_id] = process
        for process_id in segment.forgotten:
            last.histories.pop(process_id, None)
            last.forgotten.add(process_id)
        for process_id, offset in segment.firsts.items():
            last.firsts.setdefault(process_id, offset)
        for process_id, history in segment.histories.items():
            last.histories.setdefault(process_id, []).extend(history)
        last.next, last.last = segment.next, segment.last
        last.inputs += segment.inputs
        last.size += segment.size

    # Write-behind.

    @property
    def dirty(self) -> bool:
        return bool(self._segments) or self._in_flight is not None

    def cut(self, checkpoint_id: str) -> Checkpoint | None:
        """The next checkpoint to write, or the one under way again (with the id that it has). None: all is stored."""
        if self._in_flight is not None:
            return self._in_flight[1]
        if not self._segments:
            return None
        segment = self._segments.popleft()
        assert segment.last is not None
        writes: list[ProcessWrite] = []
        sagas: dict[str, None] = {}
        cache, encode = self._cache, self._rules.encode
        for process_id, process in segment.states.items():
            stored, first = cache.get(process_id).stored, segment.firsts[process_id]
            if process is None:
                writes.append(removal(process_id, stored, first))
                continue
            if stored is None:
                sagas[process.saga] = None
            history, forget = segment.histories.get(process_id, ()), process_id in segment.forgotten
            writes.append(process_write(stored, process, encode(process), history, first, forget))
        position = ShardPosition(segment.next, record_id(segment.last), checkpoint_id, self._rules.semantics)
        checkpoint = Checkpoint(self.number, self.stored_next, position, tuple(writes), tuple(sagas), segment.inputs)
        self._in_flight = (segment, checkpoint)
        self._own_positions.add(position.next)
        return checkpoint

    def confirm(self) -> None:
        """The checkpoint under way is in the store."""
        assert self._in_flight is not None
        segment, checkpoint = self._in_flight
        self._in_flight = None
        self.stored_next = checkpoint.position.next
        self.unstored_inputs -= segment.inputs
        for process_id, process in segment.states.items():
            entry = self._cache.get(process_id)
            entry.stored = process
            entry.pins -= 1
        if not self._folding:
            self._cache.shrink()
