"""Which shards are this engine's, and how far each is: pending -> verifying -> active, or refused, or halted.

Owns the transitions of a shard's ownership. A shard is claimed when it is assigned, and claimed again on any doubt: the
store moved, an effect was not acknowledged, the position was lost. There is no other way of recovery.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import structlog

from contracts.record import IncomingRecord
from contracts.topics import INBOX
from orchestrator.runtime.checkpoint import record_id
from orchestrator.runtime.claim import (
    Claim,
    Facts,
    Refusal,
    Restore,
    Upgrade,
    Verdict,
    judge,
    other_record,
    refused_with,
)
from orchestrator.runtime.log import Place, Subscription
from orchestrator.runtime.mending import Mending
from orchestrator.runtime.metrics import EngineMetrics
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.shard import Shard
from orchestrator.runtime.store import ShardStore, StoreUnavailable

log = structlog.get_logger(__name__)

RESTORES_MAX = 4
"""Shards that are restored at once."""
EFFECT_REFUSED = "effect-refused"
"""Code of a shard that halted since the log will not take one of its effects."""


@dataclass(frozen=True, slots=True)
class RefusedShard:
    """Kept in the store for the CLI: a shard that does no work, and why. `code` is a claim's refusal or a halt."""

    shard: int
    code: str
    text: str
    instance: str


@dataclass(frozen=True, slots=True)
class Verification:
    """A claimed shard whose first record must be the one that was folded last."""

    shard: Shard
    offset: int
    expected: str


class Ownership:
    """The engine's `Membership`. All methods run in the event loop's thread; between awaits nothing changes."""

    def __init__(
        self,
        store: ShardStore,
        rules: Rules,
        metrics: EngineMetrics,
        *,
        instance: str,
        cache_limit: int,
        leaving: Callable[[], Awaitable[None]],
    ) -> None:
        """`leaving` is awaited before shards are given up: the batch under way ends, what it did is stored."""
        self.active: dict[int, Shard] = {}
        self.refused: dict[int, RefusedShard] = {}
        self._store = store
        self._rules = rules
        self._metrics = metrics
        self._instance = instance
        self._cache_limit = cache_limit
        self._leaving = leaving
        self._mending: Mending | None = None
        self._subscription: Subscription | None = None
        self._pending: dict[int, object] = {}
        """Shards to claim; the token tells one assignment of a shard from the next."""
        self._verifying: dict[int, Verification] = {}
        self._published: dict[int, int] = {}
        self._wanted = asyncio.Event()
        self.committed: dict[int, int] = {}
        """The group's offsets, as far as known."""

    def attach(self, subscription: Subscription) -> None:
        """The subscription that this is the membership of (each needs the other)."""
        self._subscription = subscription

    def mend_with(self, mending: Mending) -> None:
        """Without it a shard that needs more than a claim is refused."""
        self._mending = mending

    @property
    def subscription(self) -> Subscription:
        assert self._subscription is not None, "attach comes before the first poll"
        return self._subscription

    @property
    def owned(self) -> frozenset[int]:
        """Shards whose timers this owner may fire."""
        return frozenset(self.active)

    async def wait_for_pending(self, timeout_s: float) -> None:
        """Return when a shard waits for its claim, at the latest after `timeout_s`."""
        if not self._pending:
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), max(timeout_s, 0))

    def _want(self, number: int) -> None:
        self._pending[number] = object()
        self._wanted.set()

    def problem(self) -> str | None:
        """For `/readyz`: shards that need a person, and shards that are not yet at work."""
        texts = [shard.text for _, shard in sorted(self.refused.items())]
        waiting = len(self._pending) + len(self._verifying)
        if waiting:
            texts.append(f"{waiting} shards are being claimed")
        return "; ".join(texts) or None

    # Membership.

    def assigned(self, places: frozenset[Place]) -> None:
        for place in places:
            self._want(place.partition)

    async def revoked(self, places: frozenset[Place]) -> None:
        try:
            await self._leaving()
        finally:
            for place in places:
                self._drop(place.partition)
                self._published.pop(place.partition, None)
                self.committed.pop(place.partition, None)
            self._count()

    def _drop(self, number: int) -> None:
        self.active.pop(number, None)
        self.refused.pop(number, None)
        self._pending.pop(number, None)
        self._verifying.pop(number, None)

    # Claims.

    def restart(self, numbers: Iterable[int], why: str) -> None:
        """Forget all that is not stored of these shards, and claim them again."""
        for number in numbers:
            shard = self.active.get(number)
            if shard is None and number not in self._verifying:
                continue
            if shard is not None:
                self._published[number] = max(self._published.get(number, 0), shard.position)
            self._drop(number)
            self.subscription.pause(frozenset((Place(INBOX, number),)))
            self._want(number)
            self._metrics.restarted(why)
            log.warning("a shard is claimed again", shard=number, why=why)
        self._count()

    def review_refused(self) -> None:
        """Look at refused shards once more: a person may have acted. (A shard that halted before an input waits for
        another build, but what the log would not take it may take now.)"""
        self.restart([n for n, shard in self.refused.items() if shard.code == EFFECT_REFUSED], "reviewed")
        for number in self.refused.keys() - self.active.keys():
            self._want(number)

    async def review_stored(self) -> None:
        """Whether the store is where it was left, also of shards at rest: one that went back in time has lost timers
        and states, and without an input nobody would notice. Raises StoreUnavailable."""
        left = {number: (shard, shard.stored_next) for number, shard in self.active.items() if not shard.dirty}
        positions = await self._store.positions(sorted(left))
        moved = []
        for number, (shard, expected) in left.items():
            position = positions[number]
            unmoved = self.active.get(number) is shard and not shard.dirty and shard.stored_next == expected
            if unmoved and (None if position is None else position.next) != expected:
                moved.append(number)
        self.restart(moved, "store-moved")

    async def claim_pending(self) -> None:
        """Claim all shards that wait for it. Raises StoreUnavailable or LogUnavailable: they go on waiting."""
        tokens = dict(self._pending)
        if not tokens:
            return
        found = {facts.shard: facts for facts in await self._facts(tuple(tokens))}
        verdicts = {number: judge(facts) for number, facts in found.items()}
        ordered = await self._ordered(found, verdicts)
        await self._settle(tokens, ordered)
        await self._settle(tokens, await self._mended(found, {n: v for n, v in ordered.items() if v is verdicts[n]}))

    async def _settle(self, tokens: Mapping[int, object], verdicts: Mapping[int, Verdict]) -> None:
        """Begin or refuse. Shards that are mended first go on waiting for their claim."""
        cleared: dict[int, bytes | None] = {}
        for number, verdict in verdicts.items():
            if isinstance(verdict, Restore | Upgrade):
                continue
            ahead = await self._ahead(number, verdict)
            if self._pending.get(number) is not tokens[number]:
                continue
            del self._pending[number]
            if isinstance(verdict, Refusal):
                await self.refuse(number, verdict.code, verdict.text)
            else:
                self.refused.pop(number, None)
                self._begin(number, verdict, ahead)
                cleared[number] = None
        self._count()
        if cleared:
            await self._store.set_refusals(cleared)

    async def _ahead(self, number: int, verdict: Verdict) -> Mapping[str, int]:
        """Processes of a restored shard that want inputs only from a later offset on."""
        if self._mending is None or not isinstance(verdict, Claim) or verdict.stored_next is None:
            return {}
        return await self._mending.ahead(number, verdict.stored_next)

    async def _ordered(self, found: Mapping[int, Facts], verdicts: Mapping[int, Verdict]) -> dict[int, Verdict]:
        """The verdicts, but for shards that a person's order has mended: those are judged again."""
        changed: dict[int, Verdict] = dict(verdicts)
        if self._mending is None:
            return changed
        for number, order in (await self._mending.orders(found)).items():
            refusal = refused_with(verdicts[number], order.code) if number in verdicts else None
            if refusal is not None and await self._mending.carry_out(order, found[number], refusal, self.subscription):
                changed[number] = Restore()
        return changed

    async def _mended(self, found: Mapping[int, Facts], verdicts: Mapping[int, Verdict]) -> dict[int, Verdict]:
        """Restore and upgrade, a few shards at once: these are judged again with the next claims. Returns verdicts for
        those that need no more."""
        if self._mending is None:
            return {}
        lost = [number for number, verdict in verdicts.items() if isinstance(verdict, Restore)]
        bare = await self._mending.without_snapshots(lost) if lost else frozenset()
        done = {number: judge(replace(found[number], snapshots="none")) for number in bare}
        waiting = [n for n, verdict in verdicts.items() if isinstance(verdict, Restore | Upgrade) and n not in bare]
        chosen = waiting[:RESTORES_MAX]
        mended = await asyncio.gather(*(self._mend_one(number, found[number], verdicts[number]) for number in chosen))
        return done | dict(zip(chosen, mended, strict=True))

    async def _mend_one(self, number: int, facts: Facts, verdict: Verdict) -> Verdict:
        assert self._mending is not None
        if isinstance(verdict, Upgrade):
            return await self._mending.upgrade(number, verdict.stored) or verdict
        restored = await self._mending.restore(number)
        if isinstance(restored, Refusal):
            return restored
        return verdict if restored else judge(replace(facts, snapshots="none"))

    async def _facts(self, numbers: Sequence[int]) -> list[Facts]:
        """Bounds are read last: whatever was stored or committed before cannot be beyond them in a sound log."""
        places = frozenset(Place(INBOX, number) for number in numbers)
        stored = await self._store.positions(numbers)
        committed = await self.subscription.committed(places)
        bounds = await self.subscription.bounds(places)
        for place, offset in committed.items():
            if offset is not None:
                self.committed[place.partition] = offset
        mends = self._mending is not None
        return [
            Facts(
                place.partition,
                stored[place.partition],
                committed[place],
                *bounds[place],
                self._rules.semantics,
                "unknown" if mends else "none",
                mends,
            )
            for place in sorted(places)
            if place in committed and place in bounds
        ]

    def _begin(self, number: int, claim: Claim, ahead: Mapping[str, int]) -> None:
        """Start at the record before the stored offset, if there is one to compare."""
        claim = replace(claim, watermark=max(claim.watermark, self._published.get(number, 0)))
        shard = Shard(number, self._rules, claim, self._cache_limit, ahead)
        first = claim.next
        if claim.verify is None:
            self.active[number] = shard
        else:
            first -= 1
            self._verifying[number] = Verification(shard, first, claim.verify)
        place = Place(INBOX, number)
        self.subscription.seek(place, first)
        self.subscription.resume(frozenset((place,)))

    async def verify(self, number: int, records: Sequence[IncomingRecord]) -> Sequence[IncomingRecord]:
        """The records that an active shard may fold. For a shard that was just claimed the first one is compared,
        and the shard becomes active, or refuses."""
        waiting = self._verifying.get(number)
        if waiting is None or not records:
            return records
        first = records[0]
        if first.offset != waiting.offset:
            self.restart((number,), "record-gone")
            return ()
        found = record_id(first)
        del self._verifying[number]
        if found != waiting.expected:
            refusal = other_record(number, first.offset, waiting.expected, found)
            await self.refuse(number, refusal.code, refusal.text)
            return ()
        self.active[number] = waiting.shard
        self._count()
        return records[1:]

    async def refuse(self, number: int, code: str, text: str) -> None:
        """The shard does nothing until a person has acted (or, halted, until another build runs). Others go on."""
        shard = RefusedShard(number, code, text, self._instance)
        self.subscription.pause(frozenset((Place(INBOX, number),)))
        if self.refused.get(number) != shard:
            log.error("a shard needs a person", shard=number, code=code, text=text)
        self.refused[number] = shard
        self._count()
        try:
            await self._store.set_refusals({number: msgspec.json.encode(shard)})
        except StoreUnavailable:
            log.warning("the refusal could not be kept in the store", shard=number)

    def _count(self) -> None:
        self._metrics.shards(
            active=len(self.active), claiming=len(self._pending) + len(self._verifying), refused=self.refused.values()
        )
