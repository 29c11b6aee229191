"""One whole audit: states, shards and, if asked, the log; and the repair of what was found. Used by the command line.

The order makes it safe on a running system: offsets are read before the log, and what looks stranded is looked at once
more at the end; only what has not moved in between is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS, SHARDS, TOMBSTONE_MS, dead_letters_topic
from orchestrator.engine.process import ENGINE_SEMANTICS
from orchestrator.runtime.audit import MENDED, RECOVER, REFOLDED, Code, Finding, read_state
from orchestrator.runtime.audit_deep import Awaited, Heard, Passed, Waiting, awaited_of, judge_awaited
from orchestrator.runtime.audit_letters import Letters, StartsOf, never_began, told_by
from orchestrator.runtime.audit_log import AuditLog
from orchestrator.runtime.audit_marks import UNTOLD_MS, Mark, MarkStore, judge_mark
from orchestrator.runtime.audit_store import AuditStore, Wanted
from orchestrator.runtime.auditor import Auditor, Round
from orchestrator.runtime.claim import Facts, Refusal, judge
from orchestrator.runtime.clock import timer_fired
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.log import Place
from orchestrator.runtime.router import ROUTER_GROUP
from orchestrator.runtime.store import DueTimer, ShardPosition, ShardStore

IDLE_PAUSE_S = 2.0
"""A shard that has inputs to fold folds some within this time, or nobody works on it."""
RESENT: frozenset[Code] = frozenset(("command-lost", "command-passed-over", "answer-unheard"))
"""Freed by sending the command again: its service answers from its inbox, or does it now."""
LETTERS_MS = TOMBSTONE_MS
"""Dead letters of so long ago are looked at: whatever they have started since, or its tombstone, is still there."""
NUDGE_TIMER = "audit"
SERVICE_GROUP = "counterpoint.{}"


@dataclass(frozen=True, slots=True)
class Audited:
    """`at_ms`: everything found held at this time. `processes`: states looked at."""

    at_ms: int
    processes: int
    findings: tuple[Finding, ...]
    resends: tuple[OutgoingRecord, ...]
    round: Round

    @property
    def stranded(self) -> tuple[str, ...]:
        """Who cannot go on."""
        return tuple(sorted({one.process_id or f"shard {one.shard}" for one in self.findings if one.strands}))


class Audit:
    """`services`: which service handles a command type. `sleep` in seconds. `marks` and `starts_of` are for `deep`."""

    def __init__(
        self,
        store: AuditStore,
        shards: ShardStore,
        log: AuditLog,
        auditor: Auditor,
        services: Mapping[str, str],
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        marks: MarkStore,
        starts_of: StartsOf,
    ) -> None:
        self._marks = marks
        self._starts_of = starts_of
        self._store = store
        self._shards = shards
        self._log = log
        self._auditor = auditor
        self._services = services
        self._now_ms = now_ms
        self._sleep = sleep

    async def run(self, *, deep: bool) -> Audited:
        """Raises StoreUnavailable, LogUnavailable."""
        first = await self._facts()
        waiting = Waiting()
        found = await self._auditor.round(on_process=waiting.take if deep else None)
        late = await self._follow(waiting) if deep and waiting.commands else ()
        letters = await self._letters(waiting) if deep else Letters({}, self._starts_of)
        begun = await self._marks.started(self._known_services, UNTOLD_MS) if deep else ()
        await self._sleep(IDLE_PAUSE_S)
        second = await self._facts()
        still = await self._still_awaited(late)
        told = [told_by(letters, finding, command_id) for command_id, finding in still.items()]
        untold = await self._untold(begun, waiting)
        resends = tuple(
            waiting.commands[command_id].record
            for command_id in sorted({*still, *untold})
            if command_id in waiting.commands
        )
        more = (*told, *await self._never_began(letters), *untold.values())
        findings = (*judge_shards(first, second), *found.findings, *more)
        return Audited(self._now_ms(), found.processes, findings, resends, found)

    @property
    def _known_services(self) -> frozenset[str]:
        return frozenset(self._services.values())

    async def _letters(self, waiting: Waiting) -> Letters:
        letters = Letters(waiting.commands, self._starts_of)
        topics = {ORCHESTRATOR_DEAD_LETTERS, *map(dead_letters_topic, self._known_services)}
        async for records in self._log.records(topics, self._now_ms() - LETTERS_MS):
            for record in records:
                letters.take(record)
        return letters

    async def _never_began(self, letters: Letters) -> list[Finding]:
        """Those of the dead-lettered starts whose process is not there: nothing was done about them."""
        sights = await self._store.sights([Wanted(process_id) for process_id in letters.starts])
        return [never_began(one.process_id, letters.starts[one.process_id]) for one in sights if one.blob is None]

    async def _untold(self, begun: Sequence[Mark], waiting: Waiting) -> dict[str, Finding]:
        """By command id. Looked at again as the last thing: an execution may have ended meanwhile, or its process gone
        on."""
        suspects = {
            mark: finding
            for mark in begun
            if (finding := judge_mark(mark, waiting.commands, waiting.stuck, self._now_ms())) is not None
        }
        left = await self._marks.still(tuple(suspects))
        now = Waiting()
        for sight in await self._store.sights([Wanted(suspects[mark].process_id) for mark in left]):
            process = read_state(sight.blob)
            if process is not None:
                now.take(process)
        return {
            mark.command_id: one
            for mark in left
            if (one := judge_mark(mark, now.commands, now.stuck, self._now_ms())) is not None
        }

    async def _facts(self) -> list[Facts]:
        """Bounds last, as a claim reads them."""
        stored: Mapping[int, ShardPosition | None] = await self._shards.positions(range(SHARDS))
        committed = await self._log.committed(ENGINE_GROUP, INBOX)
        bounds = await self._log.bounds(INBOX)
        return [
            Facts(place.partition, stored[place.partition], committed.get(place), *bounds[place], ENGINE_SEMANTICS)
            for place in sorted(bounds)
        ]

    async def _follow(self, waiting: Waiting) -> tuple[tuple[Awaited, Finding], ...]:
        """Wait until the engine has folded what the router had passed, and then read what the log says."""
        services: dict[str, dict[Place, int]] = {}
        router: dict[Place, int] = {}
        for topic in waiting.topics:
            router.update(await self._log.committed(ROUTER_GROUP, topic))
        for one in waiting.commands.values():
            service = self._services.get(one.type)
            if service is not None and one.type not in services:
                services[one.type] = dict(await self._log.committed(SERVICE_GROUP.format(service), one.record.topic))
        await self._folded()
        heard = Heard(waiting.commands)
        assert waiting.since_ms is not None
        async for records in self._log.records(waiting.topics, waiting.since_ms):
            for record in records:
                heard.take(record)
        every = waiting.commands.values()
        findings = {
            one.command_id: found for one in every for found in judge_awaited((one,), heard, Passed(router, services))
        }
        return tuple((waiting.commands[command_id], finding) for command_id, finding in findings.items())

    async def _folded(self) -> None:
        """What was in the inbox when the router's offsets were read is in the states, or its shard stands still (and
        is a finding of its own)."""
        ends = {place.partition: end for place, (_, end) in (await self._log.bounds(INBOX)).items()}
        before: dict[int, int | None] = {}
        while True:
            positions = await self._shards.positions(sorted(ends))
            now = {shard: None if at is None else at.next for shard, at in positions.items()}
            open_shards = [shard for shard, end in ends.items() if (now[shard] or 0) < end]
            if not open_shards or all(before.get(shard, -1) == now[shard] for shard in open_shards):
                return
            before = now
            await self._sleep(IDLE_PAUSE_S)

    async def _still_awaited(self, late: Sequence[tuple[Awaited, Finding]]) -> dict[str, Finding]:
        ids = sorted({one.process_id for one, _ in late})
        sights = await self._store.sights([Wanted(process_id) for process_id in ids])
        awaited: set[str] = set()
        for sight in sights:
            process = read_state(sight.blob)
            if process is not None:
                awaited.update(one.command_id for one in awaited_of(process))
        return {one.command_id: finding for one, finding in late if one.command_id in awaited}


def judge_shards(first: Sequence[Facts], second: Sequence[Facts]) -> tuple[Finding, ...]:
    """What the guards of a claim say to a shard, and whether anybody works on it. The two were read some time apart."""
    found = []
    for before, now in zip(first, second, strict=True):
        verdict = judge(now)
        if isinstance(verdict, Refusal):
            found.append(Finding("shard-refused", now.shard, "", verdict.text, f"{RECOVER} {now.shard}"))
            continue
        next_before = before.stored.next if before.stored else 0
        next_now = now.stored.next if now.stored else 0
        if next_before == next_now < before.log_end:
            why = f"shard {now.shard}: {before.log_end - next_now} inputs wait, and no engine folds them"
            found.append(Finding("shard-idle", now.shard, "", why, "start the engine: python -m orchestrator"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Repaired:
    """`mended`: processes whose timers and indexes were made to agree with their state. `refolded`: shards that their
    engine folds again. `busy`: shards that could not be dropped, since they are written to all the time. `resent`:
    commands."""

    mended: tuple[str, ...] = ()
    refolded: tuple[int, ...] = ()
    busy: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    """Shards that cannot be folded again: the inbox does not hold everything any more."""
    resent: int = 0


def nudge(shard: int, audited: Audited) -> OutgoingRecord:
    """An input that changes nothing (a timer that is not set): with it an engine at rest notices that its shard's
    position is gone, and folds again."""
    process_id = next(one.process_id for one in audited.findings if one.shard == shard and one.code in REFOLDED)
    return timer_fired(DueTimer(shard, process_id, NUDGE_TIMER, audited.at_ms), audited.at_ms)


async def repair(
    audited: Audited,
    store: AuditStore,
    log: AuditLog,
    send: Callable[[Sequence[OutgoingRecord]], Awaitable[object]],
) -> Repaired:
    """Do what the findings name `counterpoint audit --repair` for. Raises StoreUnavailable, LogUnavailable."""
    damaged = sorted({one.shard for one in audited.findings if one.code in REFOLDED})
    bounds = await log.bounds(INBOX)
    whole = [shard for shard in damaged if bounds[Place(INBOX, shard)][0] == 0]
    dropped = [shard for shard in whole if await store.forget(shard)]
    nudges = [nudge(shard, audited) for shard in dropped]
    wanted = sorted({one.process_id for one in audited.findings if one.code in MENDED})
    mends = [
        audited.round.mends[process_id]
        for process_id in wanted
        if process_id in audited.round.mends and partition_of(process_id, SHARDS) not in dropped
    ]
    done = await store.mend(mends)
    if audited.resends or nudges:
        await send((*audited.resends, *nudges))
    return Repaired(
        tuple(mend.process_id for mend, was_done in zip(mends, done, strict=True) if was_done),
        tuple(dropped),
        tuple(shard for shard in whole if shard not in dropped),
        tuple(shard for shard in damaged if shard not in whole),
        len(audited.resends),
    )
