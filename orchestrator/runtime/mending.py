"""What a claim does to a shard before it can be worked on: restores it, brings it to this engine's semantics, or
carries out what a person has ordered. Ownership decides when; here is how.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from contracts.topics import INBOX
from orchestrator.runtime.claim import Facts, Refusal
from orchestrator.runtime.log import AppendRefused, Place, Subscription
from orchestrator.runtime.recovery import Order, applies, decode_order
from orchestrator.runtime.restore import Restorer, SnapshotsDamaged
from orchestrator.runtime.snapshot_store import CutState, ShortHistory, SnapshotStore, StaleRestore
from orchestrator.runtime.store import ShardPosition

log = structlog.get_logger(__name__)


class NoProgress(RuntimeError):
    """Processes stay uncovered although they were looked at."""


class Upgrader(Protocol):
    async def upgrade(self, number: int, stored: ShardPosition) -> None:
        """See `Snapshotter.upgrade`. Raises NoProgress, AppendRefused, and as log and store do."""


class Mending:
    """`semantics`: of this engine."""

    def __init__(
        self, store: SnapshotStore, restorer: Restorer, upgrader: Upgrader, semantics: int, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._restorer = restorer
        self._upgrader = upgrader
        self._semantics = semantics
        self._new_id = new_id

    async def restore(self, number: int) -> bool | Refusal:
        """Whether the shard is restored, and is to be judged again; False: it has no snapshots. Raises as the log and
        the store do."""
        try:
            return await self._restorer.restore(number)
        except StaleRestore as error:
            log.warning("somebody else restores a shard", shard=number, error=str(error))
            return True
        except (SnapshotsDamaged, ShortHistory) as error:
            text = f"shard {number}: Redis has lost it, and its snapshots are damaged: {error}."
            return Refusal("snapshots-damaged", f"{text} A person must decide (counterpoint recover)")

    async def without_snapshots(self, numbers: Sequence[int]) -> frozenset[int]:
        """Those of the shards of which there is nothing to restore."""
        return await self._restorer.without(numbers)

    async def upgrade(self, number: int, stored: ShardPosition) -> Refusal | None:
        """None: the shard is of this engine's semantics now, and is to be judged again."""
        log.warning("a full snapshot cut", shard=number, semantics=stored.semantics, engine=self._semantics)
        try:
            await self._upgrader.upgrade(number, stored)
        except (NoProgress, AppendRefused) as error:
            text = (
                f"shard {number}: a full snapshot cut is needed, since an older build has folded it, and fails: {error}"
            )
            return Refusal("older-engine", f"{text}. Run the older build")
        return None

    async def ahead(self, number: int, position: int) -> Mapping[str, int]:
        """See `SnapshotStore.ahead`."""
        return await self._store.ahead(number, position)

    async def orders(self, shards: Collection[int]) -> Mapping[int, Order]:
        """What persons have ordered for these shards."""
        found = {}
        for number, blob in (await self._store.orders(shards)).items():
            try:
                found[number] = decode_order(blob)
            except msgspec.DecodeError as error:
                log.error("an order cannot be read", shard=number, error=str(error))
        return found

    async def carry_out(self, order: Order, facts: Facts, refusal: Refusal, subscription: Subscription) -> bool:
        """True: the shard is to be judged again. False: the order is about something else, and stays for a person to
        see. Every part can be repeated; the order is forgotten last."""
        if not applies(order, facts, refusal):
            log.warning("an order is about another damage", shard=order.shard, ordered=order.code, found=refusal.code)
            return False
        expected = None if facts.stored is None else facts.stored.next
        position: ShardPosition | None = None
        if order.action == "adopt" and order.next is not None:
            semantics = self._semantics if facts.stored is None else facts.stored.semantics
            position = ShardPosition(order.next, order.record_id, self._new_id(), semantics)
        if expected is None:  # what a restore has left behind is no state
            await self._store.begin_restore(order.shard, self._new_id())
        if not await self._store.adopt(order.shard, expected, position):
            return False
        # Marks and cuts may be of another log: all processes are snapshotted anew.
        await self._store.set_cut_state(order.shard, CutState())
        if not await subscription.commit({Place(INBOX, order.shard): order.published}):
            return False
        await self._store.set_orders({order.shard: None})
        log.warning("a shard is recovered", shard=order.shard, code=order.code, action=order.action, by=order.by)
        return True
