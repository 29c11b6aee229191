"""Random sagas, random inputs, snapshots at random moments, and Redis lost with all of the inbox that a cut allows:
what is restored and folded on is what one plain fold gives, byte for byte, and nothing is published again but what is
awaited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from contracts.ids import partition_of
from contracts.topics import INBOX, LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.process import Process, encode_process
from orchestrator.language import Saga
from orchestrator.runtime.log import Place
from orchestrator.runtime.rules import rules_of
from orchestrator.runtime.snapshots import decode_cut
from orchestrator.testkit import Story
from orchestrator.testkit.explore import _Explorer
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.grammar import random_saga
from orchestrator.testkit.lab import lab_saga
from tests.engine import store_states, test_waits_explored
from tests.runtime.world_snapshots import SnapshotEngine, SnapshotWorld, lab_record

SEEDS = 60
SHARD = partition_of("lab:j1", SHARDS)
TOPICS = ("lab.commands", "lab.events", LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS)


class Lossy:
    """One process of one saga, in a world that loses Redis."""

    def __init__(self, saga: Saga, random: Random) -> None:
        self.world = SnapshotWorld()
        self.rules = rules_of(SagaBook([saga]))
        self.random = random
        self.losses = 0
        self.engine: SnapshotEngine | None = None

    async def run(self, fed: Sequence[Fed]) -> None:
        self.engine = await self.world.engine(self.rules)
        await self.engine.claimed()
        for one in fed:
            self.world.now_ms = one.item.at_ms
            self.world.put(lab_record(one.item))
            if self.random.random() < 0.3:
                await self.engine.work(flush=self.random.random() < 0.8)
            if self.random.random() < 0.15:
                await self._snapshot()
            if self.random.random() < 0.08:
                await self._lose()
        await self._lose()
        await self.engine.loop.flush()

    async def _snapshot(self) -> None:
        assert self.engine is not None
        self.world.snapshot_ms += self.random.choice((300_000, 600_000, 600_000))
        await self.engine.look()
        if self.random.random() < 0.5:
            self.world.compact()

    async def _lose(self) -> None:
        """The engine dies, Redis is gone, and retention has taken what lies below the cut. The group's offset is
        committed: else effects since then may be published again, as after any crash."""
        assert self.engine is not None
        await self.engine.loop.flush()
        self.losses += 1
        await self.engine.die()
        self.world.store.wipe()
        cut = self.world.snapshots(SHARD).get("#cut")
        if cut is not None:
            self.world.log.trim(Place(INBOX, SHARD), decode_cut(cut).offset)
        self.engine = await self.world.engine(self.rules)
        await self.engine.work()
        assert self.engine.readiness.problem() is None

    async def check(self, fed: Sequence[Fed]) -> None:
        process = fed[-1].after
        assert process is not None
        held = self.world.store._shard(SHARD)
        assert held.blobs == {process.id: encode_process(process)}
        assert held.history[process.id] == [one.decision.history for one in fed if one.decision.history is not None]
        assert held.timers == {(process.id, name): due for name, due in timers_of(process).items()}
        self._check_effects(fed)

    def _check_effects(self, fed: Sequence[Fed]) -> None:
        records = [record for topic in TOPICS for record in self.world.log.records(topic)]
        found = Counter((dict(r.headers)["ce_id"].decode(), r.value) for r in records)
        wanted = Counter((sent.id, sent.record.value) for one in fed for sent in one.sent)
        assert found.keys() == wanted.keys()
        commands = {sent.id for one in fed for sent in one.sent if sent.kind in ("command", "undo")}
        for (identity, value), times in found.items():
            more = self.losses if identity in commands else 0
            assert wanted[identity, value] <= times <= wanted[identity, value] + more, identity


def timers_of(process: Process) -> dict[str, int]:
    return process.timers | ({"expiry": process.expires_at_ms} if process.expires_at_ms else {})


async def lose(saga: Saga, fed: Sequence[Fed], seed: int) -> None:
    lossy = Lossy(saga, Random(f"losses {seed}"))
    try:
        await lossy.run(fed)
        await lossy.check(fed)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("part", range(3))
async def test_random_sagas_survive_the_loss_of_redis(part: int) -> None:
    for seed in range(part, SEEDS, 3):
        random = Random(seed)
        saga = random_saga(random, without=frozenset(("subsaga",)))  # one process, alone in its world
        explorer = _Explorer(random, saga, None)
        explorer.run()
        await lose(saga, explorer._fold.fed[:150], seed)


@pytest.mark.parametrize("body", test_waits_explored.BODIES, ids=range(len(test_waits_explored.BODIES)))
async def test_what_waits_for_people_and_events_survives(body: object) -> None:
    for seed in range(12):
        saga = lab_saga(body)  # type: ignore[arg-type]
        run = test_waits_explored.Run(Random(seed), saga)
        for _ in range(80):
            run.random.choice(run.everything())()
        if run.fold.process is None:
            continue
        await lose(saga, run.fold.fed, seed)


@pytest.mark.parametrize("name", [*store_states.stories(), *store_states.flow_stories()])
async def test_what_waits_at_each_kind_of_block_survives(name: str) -> None:
    story: Story = (store_states.stories() | store_states.flow_stories())[name]
    for seed in range(10):
        await lose(story.saga, story.fed, seed)
