"""Faults planted in the runtime and in the SDK: each a way to lose money or goods, and each must be found.

Those in the engine are in `plants_engine.py`. A plant changes the product in this OS process for good: run it in a
process of its own (`python -m tests.simulation --plant NAME`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from contracts.record import IncomingRecord
from contracts.topics import INBOX
from orchestrator.runtime import engine_loop, log_memory, ownership, router, routing, shard, store_memory, write_behind
from orchestrator.runtime.claim import Claim, Facts, Verdict, judge
from orchestrator.runtime.log import AppendFailed, Place
from orchestrator.runtime.store import Checkpoint, Loaded
from services.sdk import inbox_memory, prefix, runner, start
from services.sdk.middleware import retry
from services.sdk.ports import Answer, Found
from services.sdk.ports import Claim as InboxClaim
from tests.simulation.plants_engine import ENGINE_PLANTS
from tests.simulation.plants_snapshots import SNAPSHOT_PLANTS

Plant = Callable[[], None]
PLANTS: dict[str, Plant] = ENGINE_PLANTS | SNAPSHOT_PLANTS


def plant(function: Plant) -> Plant:
    PLANTS[function.__name__] = function
    return function


def put(owner: object, name: str, value: object) -> None:
    """As monkeypatch does, for the life of this process."""
    assert hasattr(owner, name), f"{owner} has no {name} to spoil"
    setattr(owner, name, value)


# The runtime.


@plant
def no_compare_and_set() -> None:
    def apply(self: Any, checkpoint: Checkpoint) -> Any:
        stored = self._shard(checkpoint.shard).position
        return original(self, replace(checkpoint, expected_next=None if stored is None else stored.next))

    original = store_memory.MemoryStore._apply
    put(store_memory.MemoryStore, "_apply", apply)


@plant
def checkpoint_before_publish() -> None:
    async def work(self: Any, polled: Mapping[Place, Sequence[IncomingRecord]]) -> int:
        batch = await self._loaded(await self._read(polled))
        folds = [(one, one.fold(items)) for one, items in batch]
        for one, folded in folds:
            one.accept(folded)
        await self._write_behind.flush(commit=False)
        await self._publish(folds)
        return 0

    put(engine_loop.EngineLoop, "_work", work)


@plant
def group_offset_committed_before_acks() -> None:
    async def work(self: Any, polled: Mapping[Place, Sequence[IncomingRecord]]) -> int:
        await self._subscription.commit({place: records[-1].offset + 1 for place, records in polled.items()})
        return int(await original(self, polled))

    original = engine_loop.EngineLoop._work
    put(engine_loop.EngineLoop, "_work", work)


@plant
def effects_suppressed_too_far() -> None:
    def generous(facts: Facts) -> Verdict:
        verdict = judge(facts)
        return replace(verdict, watermark=facts.log_end) if isinstance(verdict, Claim) else verdict

    put(ownership, "judge", generous)


@plant
def a_failed_append_taken_for_done() -> None:
    async def publish(self: Any, folds: Sequence[Any]) -> bool:
        effects = [record for _, folded in folds for record in folded.effects]
        if effects:
            try:
                await self._appender.append(effects)
            except AppendFailed:
                return True
        return True

    put(engine_loop.EngineLoop, "_publish", publish)


@plant
def store_position_not_checked_on_load() -> None:
    def admit(self: Any, wanted: Sequence[str], loaded: Loaded) -> None:
        for process_id, blob in zip(wanted, loaded.blobs, strict=True):
            self._cache.add(process_id, None if blob is None else self._rules.decode(blob))

    put(shard.Shard, "admit", admit)


@plant
def a_mismatch_taken_for_written() -> None:
    def restart(self: Any, numbers: Any, why: str) -> None:
        moved = list(numbers)
        if why == "store-moved":
            for number in moved:
                if number in self.active and self.active[number]._in_flight:
                    self.active[number].confirm()
        else:
            original(self, moved, why)

    original = ownership.Ownership.restart
    put(ownership.Ownership, "restart", restart)


@plant
def timer_popped_before_its_commit() -> None:
    async def due_timers(self: Any, shards: Any, until_ms: int, limit: int) -> Any:
        found = await original(self, shards, until_ms, limit)
        for timer in found:
            self._shard(timer.shard).timers.pop((timer.process_id, timer.timer_id), None)
        return found

    original = store_memory.MemoryStore.due_timers
    put(store_memory.MemoryStore, "due_timers", due_timers)


@plant
def router_commits_before_it_appends() -> None:
    async def work(self: Any, polled: Mapping[Place, Sequence[IncomingRecord]]) -> int:
        self._uncommitted.update({place: records[-1].offset + 1 for place, records in polled.items() if records})
        await self.commit()
        return int(await original(self, polled))

    original = router.Router._work
    put(router.Router, "_work", work)


@plant
def a_replay_starts_at_the_group_offset() -> None:
    """Not where the store stands, but how far effects are published: states are folded with a hole."""

    def hasty(facts: Facts) -> Verdict:
        verdict = judge(facts)
        if not isinstance(verdict, Claim) or not facts.committed or facts.committed <= verdict.next:
            return verdict
        return replace(verdict, next=facts.committed, verify=None)

    put(ownership, "judge", hasty)


@plant
def an_offset_commit_is_ahead_of_the_fold() -> None:
    async def commit(self: Any) -> None:
        due = {number: one.position for number, one in self._ownership.active.items()}
        if due:
            ends = {Place(INBOX, number): offset + 1 for number, offset in due.items()}
            await self._ownership.subscription.commit(ends)

    put(write_behind.WriteBehind, "_commit", commit)


@plant
def awaited_event_not_routed() -> None:
    """The router knows what starts a process, and forgets what others wait for."""

    def route(self: Any, record: IncomingRecord) -> routing.Routed:
        routed: routing.Routed = original(self, record)
        named = len(routed.inbox) - routed.observed - routed.starts
        kept = routed.inbox[:named] + routed.inbox[named + routed.observed :]
        return replace(routed, inbox=kept, observed=0)

    original = routing.Routing._route
    put(routing.Routing, "_route", route)


# The SDK.


@plant
def started_mark_ignored() -> None:
    def claim(self: Any, asked: InboxClaim) -> Answer:
        record = self._get(asked.identity)
        if record is not None and record.state == "b":
            self._begin(asked, 1)
            return Answer(Found.NEW, asked.fence)
        return original(self, asked)

    original = inbox_memory.MemoryInbox._claim
    put(inbox_memory.MemoryInbox, "_claim", claim)


@plant
def offsets_committed_on_receipt() -> None:
    put(prefix.Prefix, "next", property(lambda self: self._next))


@plant
def an_uncertain_failure_called_certain() -> None:
    async def call(self: Any, work: Any) -> Any:
        outcome = await original(self, work)
        return replace(outcome, certain=True) if isinstance(outcome, retry.Failure) else outcome

    original = retry.RunHandler.__call__
    put(retry.RunHandler, "__call__", call)


@plant
def an_uncertain_execution_repeated() -> None:
    def pause_s(self: Any, handler: Any, work: Any, failure: Any, attempt: int, *, uncertain: bool) -> float | None:
        return original(self, handler, work, failure, attempt, uncertain=False) if attempt < 4 else None

    original = retry.RunHandler._pause_s
    put(retry.RunHandler, "_pause_s", pause_s)


@plant
def polled_records_dropped_by_a_new_tenure() -> None:
    """A bug of the product's that the simulation found (decision 0082)."""
    put(runner.Runner, "_read_again", lambda self: None)


@plant
def service_starts_at_the_store_alone() -> None:
    """What was stored but not published is never published."""

    async def start_offsets(wiring: Any, subscription: Any, places: Any) -> Any:
        starts = await original(wiring, subscription, places)
        stored = await wiring.inbox.positions()
        return {place: stored.get(place, offset) for place, offset in starts.items()}

    original = start.start_offsets
    put(runner, "start_offsets", start_offsets)


@plant
def a_broker_lets_anybody_commit() -> None:
    """A zombie's commit is taken: the group of those who own the places now goes back, or ahead."""

    async def commit(self: Any, offsets: Mapping[Place, int]) -> bool:
        self._group.offsets.update({place: offset + 1 for place, offset in offsets.items()})
        return True

    put(log_memory.MemorySubscription, "commit", commit)
