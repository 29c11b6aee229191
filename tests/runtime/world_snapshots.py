"""The world of this folder with snapshots: engines that take them, and restore from them."""

from __future__ import annotations

from contracts.envelope import encode_headers
from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS, SNAPSHOTS
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER, Input
from orchestrator.runtime.log import LogUnavailable, Place
from orchestrator.runtime.mending import Mending
from orchestrator.runtime.restore import Restorer
from orchestrator.runtime.rules import Rules
from orchestrator.runtime.snapshotter import SnapshotSettings, Snapshotter
from orchestrator.runtime.store import StoreUnavailable
from tests.runtime import world as plain
from tests.runtime.fake_engine import fake_rules

plain.TOPICS.setdefault(SNAPSHOTS, SHARDS)
plain.TOPICS.setdefault("lab.events", 4)
plain.TOPICS.setdefault("lab.commands", 4)
SAMPLE_AGE_S = 600.0


class SnapshotWorld(plain.World):
    def __init__(self) -> None:
        super().__init__()
        self.snapshot_ms = self.now_ms
        """The broker's time, as the snapshotters know it."""

    async def engine(self, rules: Rules | None = None, **settings: object) -> SnapshotEngine:
        page = settings.pop("page", 50)
        engine = SnapshotEngine(self, rules or fake_rules(), settings, int(page))  # type: ignore[call-overload]
        await engine.loop.open()
        await engine.snapshotter.open()
        return engine

    def snapshots(self, shard: int) -> dict[str, bytes | None]:
        """What a reader of the compacted topic ends up with."""
        return {
            (record.key or b"").decode(): record.value
            for record in self.log.records(SNAPSHOTS)
            if record.partition == shard
        }

    def compact(self) -> None:
        for shard in range(SHARDS):
            self.log.compact(Place(SNAPSHOTS, shard))


class SnapshotEngine(plain.Engine):
    def __init__(self, world: SnapshotWorld, rules: Rules, settings: dict[str, object], page: int) -> None:
        super().__init__(world, rules, settings)
        self.world = world
        metrics = self.metrics.snapshots
        self.snapshotter = Snapshotter(
            world.log, world.store, self.loop.ownership, rules, metrics, self.readiness, lambda: 0.0, world.new_id,
            SnapshotSettings(SAMPLE_AGE_S, 1e9, page),
        )  # fmt: skip
        self.restorer = Restorer(world.log, world.store, rules, metrics, world.new_id)
        mending = Mending(world.store, self.restorer, self.snapshotter, rules.semantics, world.new_id)
        self.loop.ownership.mend_with(mending)

    async def look(self) -> bool:
        """One round of the snapshotter, at the broker's time of now."""
        world = self.world
        world.snapshot_ms = max(world.snapshot_ms, world.now_ms)
        self.snapshotter.observe(world.snapshot_ms)
        return await self.snapshotter.step()

    async def cut(self) -> None:
        """Everything that is stored now is snapshotted, and the cut is there."""
        await self.loop.flush()
        await self.look()
        self.world.snapshot_ms += int(SAMPLE_AGE_S * 1000)
        assert await self.look()

    async def claimed(self, rounds: int = 40) -> None:
        """Claim until nothing waits."""
        for _ in range(rounds):
            try:
                await self.loop.claim()
            except (StoreUnavailable, LogUnavailable):
                continue
            if not self.loop.ownership._pending:
                return

    async def work(self, rounds: int = 40, flush: bool = True) -> int:
        await self.claimed()
        return await super().work(rounds, flush)


def lab_record(item: Input) -> OutgoingRecord:
    """An input of the test kit as the record that it came from."""
    headers = encode_headers(item.envelope)
    if item.saga is not None and item.version is not None:
        headers += ((SAGA_HEADER, item.saga.encode()), (VERSION_HEADER, b"%d" % item.version))
    shard = partition_of(item.process_id, SHARDS)
    return OutgoingRecord(INBOX, item.process_id.encode(), item.data, headers, shard)
