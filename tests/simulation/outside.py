"""The world outside: providers that do what they are asked, say so or not, and a ledger of what really happened.

A fault of a provider is drawn from the seed, the key and how often it was asked under it: the same call has the same
fate whatever else changes in a run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random

from contracts.message import Event
from orchestrator.testkit.lab import Done, Refused
from services.inventory.stock import Change, Demand, Level, Movement
from services.inventory.store_memory import MemoryStock
from services.payment.gateway import Captured, Charge, Declined, Refund, Refunded
from services.payment.gateway_memory import MemoryGateway
from services.sdk import NotDone, Unknown
from services.shipping.carrier import Dispatched, Label, Parcel, Rejected, Void, Voided
from services.shipping.carrier_memory import MemoryCarrier
from tests.simulation.program import CURRENT

DO_FATES = ("refuses", "none", "none", "final", "unknown", "bug", "slow", "hangs", "late", "torn")
"""`late`: the effect comes after the call has ended in `Unknown`, and the provider says so itself. `torn`: the same,
but the call has said, wrongly, that nothing was done."""
UNDO_FATES = ("none", "final", "unknown", "bug", "slow", "hangs")
SLOW_S = 240.0
"""Longest time a slow provider takes; longer than some sagas' patience, and than a handler's limit."""


@dataclass(slots=True)
class Ledger:
    """What happened outside. `say` is for traces; `broken` hears of an effect that must not be."""

    say: Callable[[str], None]
    broken: Callable[[str], None]
    done: dict[str, str] = field(default_factory=dict)
    """Key -> step, of everything that was ever done in the laboratory."""
    standing: dict[str, str] = field(default_factory=dict)
    """The same, less what was undone."""
    undone: list[str] = field(default_factory=list)
    undone_children: set[str] = field(default_factory=set)
    """`<process>/<step path>` of children that were undone by a command, as their services see it."""
    landing: int = 0
    """Effects on their way at slow providers."""

    def do(self, key: str, step: str) -> None:
        self.say(f"outside: {key} is done")
        if key in self.done:
            self.broken(f"{key} has two effects")
        self.done[key] = self.standing[key] = step

    def undo(self, key: str) -> None:
        if self.standing.pop(key, None) is not None:
            self.say(f"outside: {key} is undone")
            self.undone.append(key)


class Temper:
    """How participants behave. `calm` ends all trouble; business refusals are not trouble."""

    def __init__(self, seed: int, trouble: float, order_trouble: float, seen: Counter[str]) -> None:
        self.calm = False
        self._seen = seen
        self._seed = seed
        self._trouble = trouble
        self._order_trouble = order_trouble
        self._asked: dict[str, int] = {}

    def chance(self, key: str) -> Random:
        """A stream for this call: the n-th under this key."""
        number = self._asked[key] = self._asked.get(key, 0) + 1
        return Random(f"{self._seed}/{key}/{number}")

    def fate(self, chance: Random, fates: tuple[str, ...], *, lab: bool = True) -> str:
        trouble = self._trouble if lab else self._order_trouble
        drawn, fate = chance.random(), chance.choice(fates)
        if drawn >= trouble or self.calm:
            return "succeeds"
        self._seen[f"fate {fate}"] += 1
        return fate


async def network(chance: Random) -> None:
    """The way to a provider and back. Nothing of a dead program arrives."""
    program = CURRENT.get()
    assert program is not None
    await program.cross("provider")
    await asyncio.sleep(chance.random() * 0.02)
    await program.cross("provider, answered")


class LabProvider:
    """Honours no keys: every execution is an effect, so that the SDK alone keeps a command from being done twice."""

    def __init__(self, ledger: Ledger, temper: Temper, tell: Callable[[Event, str], None]) -> None:
        self._ledger = ledger
        self._temper = temper
        self._tell = tell

    def _land_later(self, done: Done, key: str, after_s: float) -> None:
        self._ledger.landing += 1

        def land() -> None:
            self._ledger.landing -= 1
            self._ledger.do(key, done.step)
            self._tell(done, key)

        asyncio.get_running_loop().call_later(after_s, land)

    async def do(self, job_id: str, step: str, key: str) -> Done | Refused:
        chance = self._temper.chance(key)
        fate = self._temper.fate(chance, DO_FATES)
        await network(chance)
        if fate == "refuses":
            return Refused(job_id=job_id, step=step)
        if fate in ("late", "torn"):
            after_s = chance.random() * chance.choice((1.0, SLOW_S))
            self._land_later(Done(job_id=job_id, step=step, mark=key), key, after_s)
            if fate == "late":
                raise Unknown("late", "as the seed says")
        if fate in ("none", "final", "torn"):
            raise NotDone(fate, "as the seed says", retryable=fate == "none")
        if fate in ("slow", "hangs"):
            await asyncio.sleep(chance.random() * SLOW_S)
        if fate != "hangs" and (fate not in ("unknown", "bug") or chance.random() < 0.5):
            await network(chance)
            self._ledger.do(key, step)
        await network(chance)
        await self._end(fate, chance)
        return Done(job_id=job_id, step=step, mark=key)

    async def revert(self, undoes: tuple[str, ...], key: str) -> None:
        chance = self._temper.chance(key)
        fate = self._temper.fate(chance, UNDO_FATES)
        await network(chance)
        if fate in ("none", "final"):
            raise NotDone(fate, "as the seed says", retryable=fate == "none")
        if fate in ("slow", "hangs"):
            await asyncio.sleep(chance.random() * SLOW_S)
        if fate != "hangs" and (fate not in ("unknown", "bug") or chance.random() < 0.5):
            for covered in undoes:
                self._ledger.undo(covered)
            if not undoes:  # of a child: only the parent's step names it
                self._ledger.undone_children.add(key.rpartition("/undo/")[0])
        await network(chance)
        await self._end(fate, chance)

    async def _end(self, fate: str, chance: Random) -> None:
        if fate == "unknown":
            raise Unknown("unknown", "as the seed says")
        if fate == "bug":
            raise LookupError("a bug of the service's author")
        if fate == "hangs":
            await asyncio.sleep(10 * SLOW_S)
            raise Unknown("hung", "as the seed says")


PROVIDER_FATES = ("unavailable", "lost", "silent", "slow", "hangs")


class _Provider:
    def __init__(self, temper: Temper) -> None:
        self._temper = temper

    async def before(self, key: str) -> str:
        """Raises NotDone or Unknown; else the fate to be suffered afterwards."""
        chance = self._temper.chance(f"provider {key}")
        fate = self._temper.fate(chance, PROVIDER_FATES, lab=False)
        await network(chance)
        if fate == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        if fate == "silent":
            raise Unknown("provider-silent", "no answer")
        if fate == "slow":
            await asyncio.sleep(chance.random() * SLOW_S)
        if fate == "hangs":
            await asyncio.sleep(10 * SLOW_S)
            raise Unknown("provider-silent", "no answer for long")
        await network(chance)
        return fate

    async def after(self, key: str, fate: str) -> None:
        await network(self._temper.chance(f"answer {key}"))
        if fate == "lost":
            raise Unknown("provider-silent", "the answer was lost")


class Gateway(_Provider):
    """The payment provider: a MemoryGateway behind a bad network."""

    def __init__(self, temper: Temper) -> None:
        super().__init__(temper)
        self.inner = MemoryGateway()

    async def charge(self, charge: Charge, *, key: str) -> Captured | Declined:
        fate = await self.before(key)
        answer = await self.inner.charge(charge, key=key)
        await self.after(key, fate)
        return answer

    async def refund(self, refund: Refund, *, key: str) -> Refunded:
        fate = await self.before(key)
        answer = await self.inner.refund(refund, key=key)
        await self.after(key, fate)
        return answer


class FaultyCarrier(_Provider):
    """The carrier: a MemoryCarrier behind a bad network."""

    def __init__(self, temper: Temper, now_ms: Callable[[], int]) -> None:
        super().__init__(temper)
        self.inner = MemoryCarrier(now_ms)

    async def create_label(self, parcel: Parcel, *, key: str) -> Label | Rejected:
        fate = await self.before(key)
        answer = await self.inner.create_label(parcel, key=key)
        await self.after(key, fate)
        return answer

    async def void_label(self, void: Void, *, key: str) -> Voided:
        fate = await self.before(key)
        answer = await self.inner.void_label(void, key=key)
        await self.after(key, fate)
        return answer

    async def dispatch(self, order_id: str, label_id: str, *, key: str) -> Dispatched:
        fate = await self.before(key)
        answer = await self.inner.dispatch(order_id, label_id, key=key)
        await self.after(key, fate)
        return answer


class Stock:
    """The service's own stock store, seen over a network that is slow at times."""

    SLOW_S = 20.0

    def __init__(self, inner: MemoryStock, temper: Temper) -> None:
        self.inner = inner
        self._temper = temper

    async def _way(self, identity: str) -> None:
        chance = self._temper.chance(identity)
        if self._temper.fate(chance, ("slow",), lab=False) == "slow":
            await asyncio.sleep(chance.random() * self.SLOW_S)
        await network(chance)

    async def reserve(self, order_id: str, reservation_id: str, demands: tuple[Demand, ...], *, at_ms: int) -> Movement:
        await self._way(reservation_id)
        movement = await self.inner.reserve(order_id, reservation_id, demands, at_ms=at_ms)
        await self._way(reservation_id)
        return movement

    async def release(
        self, order_id: str, request_id: str, reservation_ids: tuple[str, ...] | None, *, at_ms: int
    ) -> Movement:
        await self._way(request_id)
        movement = await self.inner.release(order_id, request_id, reservation_ids, at_ms=at_ms)
        await self._way(request_id)
        return movement

    async def dispatch(self, order_id: str, request_id: str, *, at_ms: int) -> Movement:
        await self._way(request_id)
        movement = await self.inner.dispatch(order_id, request_id, at_ms=at_ms)
        await self._way(request_id)
        return movement

    def renew(self, *, at_ms: int) -> AsyncIterator[tuple[Change, ...]]:
        return self.inner.renew(at_ms=at_ms)

    def levels(self) -> AsyncIterator[Level]:
        return self.inner.levels()
