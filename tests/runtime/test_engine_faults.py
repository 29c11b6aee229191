"""Many small faulty worlds, each from a seed: whatever happens in whatever order, the log decides.

At the end of each world all faults are healed and one engine finishes the work. Then, for every process: its state and
its history are those of a plain fold of the inbox; every effect that was ever decided has been published; no other was.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from contracts.ids import partition_of
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from orchestrator.engine.process import Process
from orchestrator.runtime.store_memory import MemoryStore
from tests.runtime.fake_engine import fake_decide, fake_input, fake_rules, trace_of
from tests.runtime.world import Engine, World

SEEDS = 150
ACTIONS = 120


class FaultyWorld(World):
    """A world, its engines (some of them zombies), and a source of chance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        homes = [f"fake:{number}" for number in range(600)]
        shards = {partition_of(name, SHARDS) for name in homes[:3]}
        self.processes = [name for name in homes if partition_of(name, SHARDS) in shards][:9]
        self.engines: list[Engine] = []
        self.images: list[MemoryStore] = []
        self.inputs = 0

    async def act(self) -> None:
        actions = (
            [self.put_some] * 6
            + [self.step] * 12
            + [self.flush] * 5
            + [self.claim] * 6
            + [self.birth, self.death, self.zombie, self.image, self.rewind, self.cut_append, self.lose_answer]
            + [self.fail_store, self.store_away, self.log_away, self.wipe]
        )
        await self.chance.choice(actions)()

    def one(self) -> Engine | None:
        return self.chance.choice(self.engines) if self.engines else None

    async def put_some(self) -> None:
        for _ in range(self.chance.randint(1, 6)):
            self.inputs += 1
            kind = self.chance.choice(["start"] * 3 + ["step"] * 6 + ["timer", "done"])
            data = b"7" if kind == "timer" else b"{}"
            process_id = self.chance.choice(self.processes)
            record = fake_input(process_id, f"i{self.inputs}", f"fake.{kind}.v1", data)
            if self.chance.random() < 0.05:
                record = type(record)(record.topic, record.key, record.value, (), record.partition)
            self.now_ms += self.chance.randint(0, 3)
            self.put(record)

    async def step(self) -> None:
        if (engine := self.one()) is not None:
            await self.bounded(engine.loop.step(0))

    async def flush(self) -> None:
        if (engine := self.one()) is not None:
            await self.bounded(engine.loop.flush())

    async def claim(self) -> None:
        if (engine := self.one()) is not None:
            await self.bounded(engine.work(rounds=1, flush=False))

    async def bounded(self, call: object) -> None:
        """What waits for a fault to end is cancelled: the process is killed in the middle of it."""
        try:
            await asyncio.wait_for(call, 0.02)  # type: ignore[arg-type]
        except TimeoutError:
            await self.heal()

    async def birth(self) -> None:
        if len(self.engines) < 3:
            self.engines.append(await self.engine(fake_rules(), cache_processes=self.chance.randint(1, 4)))

    async def death(self) -> None:
        if (engine := self.one()) is not None:
            self.engines.remove(engine)
            member = engine.loop.ownership.subscription
            if not member.expelled:
                await engine.die()

    async def zombie(self) -> None:
        """It believes that it owns its shards; the group does not."""
        if (engine := self.one()) is not None:
            member = engine.loop.ownership.subscription
            if not member.expelled:
                member.expelled = True
                member._group.members.remove(member)

    async def image(self) -> None:
        self.images.append(self.store.image())

    async def rewind(self) -> None:
        if self.images:
            self.store.rewind(self.chance.choice(self.images[-3:]))

    async def wipe(self) -> None:
        if self.chance.random() < 0.3:
            self.store.wipe()

    async def cut_append(self) -> None:
        self.log.faults.append_cuts.append(self.chance.randint(0, 6))

    async def lose_answer(self) -> None:
        self.store.faults.lost_answers += 1

    async def fail_store(self) -> None:
        self.store.faults.failed_calls += 1

    async def store_away(self) -> None:
        self.store.faults.away = not self.store.faults.away

    async def log_away(self) -> None:
        self.log.faults.away = not self.log.faults.away

    async def heal(self) -> None:
        self.store.faults.away = self.log.faults.away = False
        self.store.faults.failed_calls = self.store.faults.lost_answers = 0
        self.log.faults.append_cuts.clear()

    async def finish(self) -> None:
        for engine in self.engines:
            if not engine.loop.ownership.subscription.expelled:
                await engine.die()
        await self.heal()
        last = await self.engine(fake_rules())
        for _ in range(6):
            await last.work(rounds=20)
        assert last.readiness.problem() is None


def plain_fold(world: World) -> tuple[dict[str, Process], dict[str, list[bytes]], set[tuple[str, bytes]]]:
    states: dict[str, Process] = {}
    histories: dict[str, list[bytes]] = {}
    effects: set[tuple[str, bytes]] = set()
    rules = fake_rules()
    for record in world.log.records(INBOX):
        if not record.headers:
            continue
        item = rules.read(record)
        decision = fake_decide(states.get(item.process_id), item)
        if decision.process is not None:
            states[item.process_id] = decision.process
            assert decision.history is not None
            histories.setdefault(item.process_id, []).append(decision.history)
        effects |= {(dict(effect.headers)["ce_id"].decode(), effect.value) for effect in decision.effects}
    return states, histories, effects


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_log_decides(seed: int) -> None:
    world = FaultyWorld(seed)
    await world.birth()
    for _ in range(ACTIONS):
        await world.act()
    await world.finish()

    states, histories, effects = plain_fold(world)
    for process_id, state in states.items():
        (blob,) = await world.store.blobs([process_id])
        assert trace_of(blob) == state.steps["trace"].detail
        assert fake_rules().decode(blob or b"") == state
        assert await world.store.history(process_id, 0, 10_000) == histories[process_id]
        shard = partition_of(process_id, SHARDS)
        timers = {name: due for (owner, name), due in world.store.timers(shard).items() if owner == process_id}
        assert timers == state.timers
        phases = [name for name, members in world.store.indexes(shard).items() if process_id in members]
        assert phases == [f"fake:{state.phase}"]
    assert world.effects() == effects
    undecodable = {(r.partition, r.offset) for r in world.log.records(INBOX) if not r.headers}
    letters = Counter(
        (int(dict(r.headers)["dl_partition"]), int(dict(r.headers)["dl_offset"]))
        for r in world.log.records(ORCHESTRATOR_DEAD_LETTERS)
    )
    assert set(letters) == undecodable
