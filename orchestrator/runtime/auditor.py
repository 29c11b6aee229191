"""Looks through a store on a running system. A suspect is looked at again, twice, and told only if it has not moved.

Owns no state but what one round has found. Paced: of every second it works for its share, and sleeps for the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.engine.process import Process
from orchestrator.runtime.audit import Finding, Kept, judge, mend_of, read_state, wanted_of
from orchestrator.runtime.audit_store import AuditStore, Mend, Name, Sight

PAGE = 200
"""Names that are looked at together."""
LOOKS_AGAIN = 2
LOOK_PAUSE_S = 0.3
"""Between two looks at a suspect: several checkpoints (50 ms)."""
FINDINGS_MAX = 10_000
"""One round tells so many; what is more, the next round finds."""
SUSPECTS_MAX = 2_000
"""On a busy system many a process moves while it is looked at: so many are kept for a second look."""
SHARE = 0.01
"""Of one processor, at most: half of the 2 % that an audit may cost."""
SLEEP_MAX_S = 5.0


@dataclass(slots=True)
class Round:
    """What one round found. `processes`: states looked at. `mends`: what would make timers and indexes agree."""

    findings: list[Finding] = field(default_factory=list)
    mends: dict[str, Mend] = field(default_factory=dict)
    processes: int = 0

    @property
    def stranded(self) -> frozenset[str]:
        """Ids of the processes that cannot go on; a shard that cannot counts by its number."""
        return frozenset(one.process_id or f"shard {one.shard}" for one in self.findings if one.strands)


@dataclass(frozen=True, slots=True)
class _Suspect:
    """Something was wrong with this process when its state was `blob`."""

    kept: Kept
    blob: bytes | None


class Pace:
    """Sleeps so long after each piece of work that the work is `share` of the time. `share` 1: never."""

    def __init__(self, share: float, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        assert 0 < share <= 1
        self._share = share
        self._monotonic = monotonic
        self._sleep = sleep
        self._since_s = monotonic()

    def start(self) -> None:
        """A piece of work begins."""
        self._since_s = self._monotonic()

    async def rest(self) -> None:
        """The piece of work has ended, and the next begins after this."""
        spent_s = self._monotonic() - self._since_s
        pause_s = min(spent_s * (1 / self._share - 1), SLEEP_MAX_S)
        if pause_s > 0:
            await self._sleep(pause_s)
        self.start()


class Auditor:
    """`now_ms`: broker time, about."""

    def __init__(
        self,
        store: AuditStore,
        pace: Pace,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._pace = pace
        self._now_ms = now_ms
        self._sleep = sleep

    async def round(
        self, shards: frozenset[int] | None = None, on_process: Callable[[Process], None] | None = None
    ) -> Round:
        """Look at everything in these shards (None: in all) once; `on_process` hears of every state. Raises
        StoreUnavailable."""
        found, suspects = Round(), dict[str, _Suspect]()
        self._pace.start()
        async for page in self._store.names(shards, PAGE):
            await self._page(page, found, suspects, on_process)
            await self._pace.rest()
            if len(suspects) >= SUSPECTS_MAX:
                await self._confirm(suspects, found)
                suspects.clear()
        await self._confirm(suspects, found)
        return found

    async def _page(
        self,
        page: Sequence[Name],
        found: Round,
        suspects: dict[str, _Suspect],
        on_process: Callable[[Process], None] | None,
    ) -> None:
        kept = _kept(page)
        states = frozenset(name.process_id for name in page if name.source == "state")
        found.processes += len(states)

        def hear(process: Process) -> None:
            if on_process is not None and process.id in states:
                on_process(process)

        for process_id, (sight, _) in (await self._suspects(kept, hear)).items():
            before = suspects.get(process_id)
            names = kept[process_id] if before is None else _joined(before.kept, kept[process_id])
            suspects[process_id] = _Suspect(names, sight.blob)

    async def _confirm(self, suspects: dict[str, _Suspect], found: Round) -> None:
        """Look again, all together; tell of those that have not moved."""
        left = dict(suspects)
        findings: dict[str, tuple[Sight, tuple[Finding, ...]]] = {}
        for _ in range(LOOKS_AGAIN if left else 0):
            await self._sleep(LOOK_PAUSE_S)
            findings = {}
            for first in range(0, len(left), PAGE):
                ids = list(left)[first : first + PAGE]
                findings |= await self._suspects({process_id: left[process_id].kept for process_id in ids})
                await self._pace.rest()
            left = {
                process_id: left[process_id]
                for process_id, (sight, _) in findings.items()
                if sight.blob == left[process_id].blob
            }
        for process_id in list(left)[: FINDINGS_MAX - len(found.findings)]:
            sight, wrong = findings[process_id]
            found.findings.extend(wrong)
            mend = mend_of(sight)
            if mend is not None:
                found.mends[process_id] = mend

    async def _suspects(
        self, kept: dict[str, Kept], hear: Callable[[Process], None] = lambda process: None
    ) -> dict[str, tuple[Sight, tuple[Finding, ...]]]:
        """Processes with findings. Looked at twice: what a state wants to be looked at, the state itself must say."""
        ids = list(kept)
        firsts = await self._store.sights([wanted_of(process_id, None, kept[process_id]) for process_id in ids])
        processes = [_process(first) for first in firsts]
        for process in processes:
            if process is not None:
                hear(process)
        wanted = [
            wanted_of(first.process_id, process, kept[first.process_id])
            for first, process in zip(firsts, processes, strict=True)
        ]
        seconds = await self._store.sights(wanted)
        now_ms = self._now_ms()
        suspects = {}
        for first, second in zip(firsts, seconds, strict=True):
            findings = judge(second, now_ms) if first.blob == second.blob else ()
            if findings:
                suspects[second.process_id] = (second, findings)
        return suspects


def _process(sight: Sight) -> Process | None:
    try:
        return read_state(sight.blob)
    except msgspec.DecodeError:
        return None


def _kept(page: Iterable[Name]) -> dict[str, Kept]:
    found: dict[str, Kept] = {}
    for name in page:
        before = found.get(name.process_id, Kept())
        timers = before.timers | {name.detail} if name.source == "timer" else before.timers
        indexes = before.indexes | {name.detail} if name.source == "index" else before.indexes
        found[name.process_id] = Kept(timers, indexes)
    return found


def _joined(one: Kept, other: Kept) -> Kept:
    return Kept(one.timers | other.timers, one.indexes | other.indexes)
