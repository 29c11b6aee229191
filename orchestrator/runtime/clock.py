"""The clock: due timers of owned shards become inputs of their processes (DESIGN section 2).

It decides nothing: a timer that is not set any more, or is not due by its record's own append time, is ignored by the
engine. So a firing may be repeated, by this clock or another; a timer that is set is never forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.process import ClockProbe, TimerFired
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, LIFECYCLE
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.broker_time import BrokerTime
from orchestrator.runtime.fired_timers import FiredTimers
from orchestrator.runtime.log import Appender, AppendRefused, Log, LogUnavailable
from orchestrator.runtime.metrics import ClockMetrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.store import DueTimer, StoreUnavailable, TimerStore

log = structlog.get_logger(__name__)

SILENCE_S = 30.0
"""After so long without an append the broker's time is asked for (DESIGN section 2)."""


@dataclass(frozen=True, slots=True)
class ClockSettings:
    poll_interval_s: float = 0.1
    timers_per_shard_max: int = 100
    """Due timers of one shard that are under way at once; later ones wait until those are decided."""


class Clock:
    """One clock. Construct, `open`, then `run` (or, in a simulation, `step` by hand), then `close`."""

    def __init__(
        self,
        log: Log,
        store: TimerStore,
        owned: Callable[[], Collection[int]],
        metrics: ClockMetrics,
        readiness: Readiness,
        instance: str,
        monotonic: Callable[[], float],
        settings: ClockSettings | None = None,
    ) -> None:
        """`owned`: the shards whose timers are ours, asked with every look. `monotonic` gives seconds."""
        self._log = log
        self._store = store
        self._owned = owned
        self._metrics = metrics
        self._readiness = readiness
        self._instance = instance
        self._monotonic = monotonic
        self._settings = settings or ClockSettings()
        self._time = BrokerTime(monotonic)
        self._fired = FiredTimers()
        self._claimed: frozenset[int] = frozenset()
        """Shards for which the broker's time was asked since they became ours."""
        self._backoff = Backoff()
        self._stopping = asyncio.Event()
        self._appender: Appender | None = None

    async def open(self) -> None:
        """Connects with the first append."""
        self._appender = await self._log.appender()

    async def run(self) -> None:
        """Work until `stop`. Raises only for a programmer's error."""
        while not self._stopping.is_set():
            sound = await self.step()
            pause_s = self._settings.poll_interval_s if sound else self._backoff.next_s()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def stop(self) -> None:
        """Ask `run` to end after the look under way."""
        self._stopping.set()

    async def close(self) -> None:
        """Drop the connection. What is still set is fired by the next owner."""
        if self._appender is not None:
            await self._appender.close()

    def observe(self, at_ms: int) -> None:
        """Somebody in this program has just had an ack with this append time (milliseconds)."""
        self._time.observe(at_ms)

    def now_ms(self) -> int | None:
        """The broker's time, as far as known."""
        return self._time.now_ms()

    async def step(self) -> bool:
        """One look at the owned shards. False: the log or the store is away; look again after a pause."""
        try:
            await self._look(frozenset(self._owned()))
        except (LogUnavailable, AppendRefused) as error:
            self._troubled(f"clock: timers wait for the log: {error}")
            return False
        except StoreUnavailable as error:
            self._troubled(f"clock: timers wait for the store: {error}")
            return False
        self._backoff.reset()
        self._readiness.set("clock", None)
        return True

    def _troubled(self, problem: str) -> None:
        log.warning("timers wait", problem=problem)
        self._readiness.set("clock", problem)

    async def _look(self, owned: frozenset[int]) -> None:
        if owned:
            await self._learn_time(owned)
        self._claimed = owned
        now_ms = self._time.now_ms()
        limit = self._settings.timers_per_shard_max
        due: Sequence[DueTimer] = ()
        if owned and now_ms is not None:
            due = await self._store.due_timers(sorted(owned), now_ms, limit)
        self._metrics.due(len(due))
        still_owned = self._owned()
        self._fired.forget(due, still_owned, limit, self._monotonic())
        wanted = [t for t in self._fired.wanted(due, self._monotonic()) if t.shard in still_owned]
        if wanted:
            assert now_ms is not None
            await self._fire(wanted, now_ms)

    async def _learn_time(self, owned: frozenset[int]) -> None:
        silent_s = self._time.silent_s()
        if owned <= self._claimed and silent_s is not None and silent_s < SILENCE_S:
            return
        await self._append([self._probe()])
        self._metrics.probed()

    def _probe(self) -> OutgoingRecord:
        """Nobody acts on it; its id only has to differ from the last one's."""
        probe = ClockProbe(instance=self._instance)
        identity = f"{self._instance}/clock-probe/{round(self._monotonic() * 1000)}"
        headers = encode_headers(Envelope(id=identity, source=ORCHESTRATOR_SOURCE, type=probe.type))
        return OutgoingRecord(LIFECYCLE, probe.key.encode(), probe.to_json(), headers)

    async def _fire(self, timers: Sequence[DueTimer], now_ms: int) -> None:
        appended_ms = await self._append([timer_fired(timer, now_ms) for timer in timers]) or now_ms
        now_s = self._monotonic()
        for timer in timers:
            kind = "again" if self._fired.appended(timer, now_s) else "first"
            self._metrics.fired(kind, (appended_ms - timer.due_ms) / 1000)

    async def _append(self, records: Sequence[OutgoingRecord]) -> int | None:
        """The last record's append time. A failed append is no append: it is tried again after the back-off."""
        assert self._appender is not None, "open comes before step"
        acks = await self._appender.append(records)
        at_ms = acks[-1].timestamp_ms
        if at_ms is not None:
            self._time.observe(at_ms)
        return at_ms


def timer_fired(timer: DueTimer, now_ms: int) -> OutgoingRecord:
    """The input that tells a process of its timer. `now_ms`: broker time, for `ce_time` alone."""
    fired = TimerFired(process_id=timer.process_id, timer_id=timer.timer_id, due_ms=timer.due_ms)
    envelope = Envelope(
        id=f"{timer.process_id}/timer/{timer.timer_id}/{timer.due_ms}",
        source=ORCHESTRATOR_SOURCE,
        type=fired.type,
        time=format_time(now_ms),
    )
    key = timer.process_id.encode()
    return OutgoingRecord(INBOX, key, fired.to_json(), encode_headers(envelope), timer.shard)
