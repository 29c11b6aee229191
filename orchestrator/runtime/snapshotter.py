"""Takes the snapshots of an engine's shards in the background, and moves their cuts (docs/decisions/0045-snapshots.md).

Every shard goes round: a sample of its stored position is taken; when that is ten minutes old, every process that is
uncovered from below it on is snapshotted, a page at a time and at a bounded pace; then the sample is the cut. The
states come from the store, so their effects are acknowledged already, and the shard itself is never held up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from contracts.record import OutgoingRecord
from contracts.topics import INBOX, RETENTION_MS
from orchestrator.engine.expiry import EXPIRY_TIMER, may_expire
from orchestrator.engine.process import Process
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.broker_time import BrokerTime
from orchestrator.runtime.clock import timer_fired
from orchestrator.runtime.log import Appender, AppendRefused, Log, LogUnavailable, Place
from orchestrator.runtime.mending import NoProgress
from orchestrator.runtime.metrics import SnapshotMetrics
from orchestrator.runtime.ownership import Ownership
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.snapshot_store import Cover, CutState, Mark, Sample, WholeStore, blob_sha
from orchestrator.runtime.snapshots import Cut, encode_cut, erase, take_history, take_state
from orchestrator.runtime.store import DueTimer, ShardPosition, StoreUnavailable

log = structlog.get_logger(__name__)

HISTORY_PAGE = 500
"""History entries that one read brings."""
APPEND_BYTES_MAX = 2 * 1024 * 1024
"""Of snapshots that wait for one acknowledgement."""
GONE_PAGE = 500
EVERYTHING = 2**53
"""Above every offset (a sorted set's scores are exact up to it)."""
HURRY_MS = RETENTION_MS // 4
"""A sample that is as old is worked off without pauses: by half of the inbox' retention it must be done."""


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    sample_age_s: float = 600.0
    """How long a process goes without a snapshot (DESIGN section 2)."""
    processes_per_s_max: float = 500.0
    """Over all shards of this engine."""
    page_processes: int = 50
    look_interval_s: float = 5.0


class Snapshotter:
    """One a program, beside its engine. Construct, `open`, then `run` (or `step` by hand), then `close`."""

    def __init__(
        self,
        log: Log,
        store: WholeStore,
        ownership: Ownership,
        rules: Rules,
        metrics: SnapshotMetrics,
        readiness: Readiness,
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        settings: SnapshotSettings | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._ownership = ownership
        self._rules = rules
        self._metrics = metrics
        self._readiness = readiness
        self._new_id = new_id
        self._settings = settings or SnapshotSettings()
        self._time = BrokerTime(monotonic)
        self._states: dict[int, tuple[object, CutState]] = {}
        """What the store has of each shard, as long as the shard is the same claim."""
        self._stopping = asyncio.Event()
        self._sending = asyncio.Lock()
        """Claims append as well: full cuts."""
        self._appender: Appender | None = None

    async def open(self) -> None:
        """Connects with the first append."""
        self._appender = await self._log.appender()

    async def run(self) -> None:
        """Work until `stop`. Raises only for a programmer's error."""
        backoff = Backoff()
        while not self._stopping.is_set():
            pause_s = self._settings.look_interval_s if await self.step() else backoff.next_s()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def stop(self) -> None:
        """Ask `run` to end after the page under way."""
        self._stopping.set()

    async def close(self) -> None:
        """Drop the connection."""
        if self._appender is not None:
            await self._appender.close()

    def observe(self, at_ms: int) -> None:
        """Somebody in this program has just had an ack with this append time (milliseconds)."""
        self._time.observe(at_ms)

    async def step(self) -> bool:
        """One look at the active shards. False: the log or the store is away."""
        try:
            ages_ms, problems = [0], []
            for number in sorted(self._ownership.active):
                try:
                    ages_ms.append(await self._look(number))
                except (AppendRefused, NoProgress) as error:
                    problems.append(f"shard {number}: {error}")
            self._metrics.age(max(ages_ms) / 1000)
        except (LogUnavailable, StoreUnavailable) as error:
            problems = [str(error)]
        self._states = {number: held for number, held in self._states.items() if number in self._ownership.active}
        if problems:
            log.error("snapshots wait", problems=problems)
        self._readiness.set("snapshots", f"snapshots wait: {'; '.join(problems)}" if problems else None)
        return not problems

    async def _look(self, number: int) -> int:
        """Bring one shard on its way; returns the age of its sample in milliseconds."""
        shard, now_ms = self._ownership.active.get(number), self._time.now_ms()
        if shard is None or now_ms is None or shard.stored_next is None or self._stopping.is_set():
            return 0
        held, state = self._states.get(number, (None, CutState()))
        if held is not shard:
            state = (await self._store.cut_states([number]))[number]
        if not state.complete:
            await self._enroll(number)
            state = await self._keep(number, replace(state, complete=True))
        if state.sample is None and shard.stored_next != state.offset:
            state = await self._sample(number, state, now_ms)
        self._states[number] = (shard, state)
        if state.sample is None:
            return 0
        age_ms = now_ms - state.sample.at_ms
        if age_ms < self._settings.sample_age_s * 1000:
            return age_ms

        def ours() -> bool:
            return self._ownership.active.get(number) is shard

        offset = state.sample.offset
        if await self._cover(number, offset, offset, ours, age_ms > HURRY_MS):
            cut = Cut(offset, state.sample.record_id, self._rules.semantics, now_ms)
            await self._append([encode_cut(number, cut)])
            self._states[number] = (shard, await self._keep(number, CutState(cut.offset, None, True)))
            self._metrics.cut()
            await self._erase_gone(number)
        return age_ms

    async def _enroll(self, number: int) -> None:
        """All processes that are there, whoever has stored them."""
        cursor = await self._store.enroll(number, 0)
        while cursor:
            cursor = await self._store.enroll(number, cursor)

    async def _keep(self, number: int, state: CutState) -> CutState:
        await self._store.set_cut_state(number, state)
        return state

    async def _sample(self, number: int, state: CutState, now_ms: int) -> CutState:
        stored = (await self._store.positions([number]))[number]
        if stored is None:
            return state
        return await self._keep(number, replace(state, sample=Sample(stored.next, stored.record_id, now_ms)))

    async def upgrade(self, number: int, stored: ShardPosition) -> None:
        """A full snapshot cut at the stored position, after which the shard is of this engine's semantics.

        Raises:
            LogUnavailable, StoreUnavailable, NoProgress: the shard is as it was.
        """
        await self._enroll(number)
        if not await self._cover(number, EVERYTHING, stored.next, lambda: True, True):
            raise LogUnavailable("this engine stops, or the store has moved")
        cut = Cut(stored.next, stored.record_id, self._rules.semantics, self._time.now_ms() or 0)
        await self._append([encode_cut(number, cut)])
        await self._keep(number, CutState(cut.offset, None, True))
        new = replace(stored, checkpoint_id=self._new_id(), semantics=self._rules.semantics)
        await self._store.adopt(number, stored.next, new)

    # Pages.

    async def _cover(self, number: int, below: int, at_least: int, ours: Callable[[], bool], hurry: bool) -> bool:
        """Snapshot all processes that are uncovered from under `below` on. False: given up on the way, or the store is
        not at `at_least` any more: it has lost what it knew."""
        last: Sequence[str] = ()
        while True:
            found = await self._store.uncovered(number, below, self._settings.page_processes)
            ids = found.process_ids
            if found.next is None or found.next < at_least or not ours() or self._stopping.is_set():
                return False
            if not ids:
                return True
            if ids == last:
                raise NoProgress(f"shard {number}: {len(ids)} processes cannot be snapshotted, such as {ids[0]}")
            last = ids
            await self._page(number, ids, ours)
            if not hurry:
                await asyncio.sleep(len(ids) / self._settings.processes_per_s_max)

    async def _page(self, number: int, ids: Sequence[str], ours: Callable[[], bool]) -> None:
        loaded = (await self._store.load({number: ids}))[number]
        if loaded.next is None:
            return
        ahead = await self._store.ahead(number, loaded.next)
        marks = await self._store.marks(number, ids)
        records: list[OutgoingRecord] = []
        covers: list[Cover] = []
        for process_id, blob, before in zip(ids, loaded.blobs, marks, strict=True):
            process = None if blob is None else self._rules.decode(blob)
            at = max(loaded.next, ahead.get(process_id, 0))
            mark = await self._history(number, process_id, process, _base(at, process, before), records)
            if mark is None:
                continue
            saga, semantics = "" if process is None else process.saga, self._rules.semantics
            added, mark = take_state(number, process_id, saga, blob, before, mark, semantics)
            records += added
            covers.append(Cover(process_id, blob_sha(blob), mark))
            if process is not None:
                records += self._nudge(number, process)
        if not covers or not ours():
            return
        await self._append(records)
        await self._store.cover(number, covers)
        self._metrics.taken(len(covers), sum(len(record.value or b"") for record in records))

    async def _history(
        self, number: int, process_id: str, process: Process | None, mark: Mark, records: list[OutgoingRecord]
    ) -> Mark | None:
        """Append what history the topic lacks, as far as one page does not hold it. None: the process is forgotten just
        now, and is looked at again."""
        length = 0 if process is None else process.history_length
        while mark.entries < length:
            page = await self._store.history(process_id, mark.entries, min(HISTORY_PAGE, length - mark.entries))
            if not page:
                return None
            added, mark = take_history(number, process_id, mark, page)
            records += added
            if sum(len(record.value or b"") for record in records) > APPEND_BYTES_MAX:
                await self._append(records)
                records.clear()
        return mark

    def _nudge(self, number: int, process: Process) -> list[OutgoingRecord]:
        """A process that had ended before there was an expiry is told of it (see orchestrator.engine.expiry)."""
        if process.expires_at_ms or not may_expire(process):
            return []
        return [timer_fired(DueTimer(number, process.id, EXPIRY_TIMER, 0), self._time.now_ms() or 0)]

    async def _erase_gone(self, number: int) -> None:
        """Of what is no more the topic need not know once no replay can begin before its end."""
        place = Place(INBOX, number)
        start, _ = (await self._ownership.subscription.bounds(frozenset((place,))))[place]
        while ids := await self._store.gone(number, start, GONE_PAGE):
            await self._append([erase(number, process_id) for process_id in ids])
            await self._store.forget_gone(number, ids)

    async def _append(self, records: Sequence[OutgoingRecord]) -> None:
        assert self._appender is not None, "open comes before step"
        batch: list[OutgoingRecord] = []
        size = 0
        for record in records:
            batch.append(record)
            size += len(record.value or b"")
            if size > APPEND_BYTES_MAX:
                await self._send(batch)
                batch, size = [], 0
        if batch:
            await self._send(batch)

    async def _send(self, records: Sequence[OutgoingRecord]) -> None:
        assert self._appender is not None
        async with self._sending:
            acks = await self._appender.append(records)
        if acks[-1].timestamp_ms is not None:
            self._time.observe(acks[-1].timestamp_ms)


def _base(at: int, process: Process | None, before: Mark | None) -> Mark:
    """What a snapshot at offset `at` starts from: history that the topic has already stays."""
    if process is None:
        return Mark(at)
    born_ms = process.started_at_ms
    if before is None or before.born_ms != born_ms or before.entries > process.history_length:
        return Mark(at, born_ms=born_ms)
    return Mark(at, before.parts, before.entries, 0, born_ms)
