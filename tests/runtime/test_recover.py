"""Every damage that makes a shard refuse, and its repair: what is kept and lost is said, nothing is done twice, and the
owner carries it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import pytest

from contracts.ids import partition_of
from contracts.topics import INBOX, SHARDS
from orchestrator.cli.shards_real import ShardKeeping
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Process, decode_process
from orchestrator.language import sequence
from orchestrator.runtime.claim import Facts, Refusal
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log import Place
from orchestrator.runtime.recovery import UNREPAIRABLE, Damage, Plan, plan_repair
from orchestrator.runtime.rules import rules_of
from orchestrator.runtime.store import ShardPosition
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Begun, Done, lab_saga, step
from tests.runtime.world_snapshots import SnapshotEngine, SnapshotWorld, lab_record

SHARD = partition_of("lab:j1", SHARDS)
OTHER = next(f"lab:k{n}" for n in range(1_000) if partition_of(f"lab:k{n}", SHARDS) == SHARD)
SAGA = lab_saga(sequence(*(step(name) for name in "abcdef")))
PLACE = Place(INBOX, SHARD)


class Ground:
    """A process that has done its first steps, on a shard with another one."""

    def __init__(self) -> None:
        self.world = SnapshotWorld()
        self.rules = rules_of(SagaBook([SAGA]))
        self.inbox = Inbox("lab:j1", "lab", 1)
        self.other = Inbox(OTHER, "lab", 1)
        self.engine: SnapshotEngine

    async def begin(self) -> Ground:
        self.engine = await self.world.engine(self.rules)
        self.put(self.inbox.start(Begun(job_id="j1"), id="s", source="/lab"))
        self.put(self.other.start(Begun(job_id=OTHER[4:]), id="s", source="/lab"))
        self.answer("a", "b")
        await self.engine.work()
        return self

    def put(self, item: Input) -> None:
        self.world.now_ms = max(self.world.now_ms, item.at_ms)
        self.world.put(lab_record(item))

    def answer(self, *steps: str) -> None:
        for name in steps:
            self.put(self.inbox.answer(Done(job_id="j1", step=name), f"lab:j1/{name}/1"))

    async def restart(self) -> None:
        self.engine = await self.world.engine(self.rules)
        await self.engine.work()

    def set_group(self, offset: int | None) -> None:
        offsets = self.world.log._groups[ENGINE_GROUP].offsets
        offsets.pop(PLACE, None)
        if offset is not None:
            offsets[PLACE] = offset

    def keeping(self) -> ShardKeeping:
        async def committed() -> dict[int, int | None]:
            return {n: self.world.log.committed_of(ENGINE_GROUP, Place(INBOX, n)) for n in range(SHARDS)}

        return ShardKeeping(self.world.log, self.world.store, committed)

    async def plan(self) -> Plan:
        (damage,) = await self.keeping().damages(range(SHARDS))
        return plan_repair(damage, "ann", 5)

    async def recover(self) -> Plan:
        """As the command does it: inspect, order, and the engine that looks at its refused shards again."""
        plan = await self.plan()
        assert plan.order is not None
        await self.keeping().order([plan.order])
        self.engine.loop.ownership.review_refused()
        await self.engine.work()
        assert self.engine.readiness.problem() is None
        assert await self.keeping().unfinished([SHARD]) == {}
        assert list(await self.keeping().damages(range(SHARDS))) == []
        return plan

    async def process(self, name: str = "lab:j1") -> Process:
        (blob,) = await self.world.store.blobs([name])
        assert blob is not None
        return decode_process(blob)

    async def at(self) -> str:
        """The step whose answer is awaited."""
        steps = (await self.process()).steps
        return next(name for name, state in steps.items() if state.status == "awaiting")

    def sent(self) -> list[str]:
        return [dict(record.headers)["ce_id"].decode() for record in self.world.log.records("lab.commands")]


@dataclass(frozen=True)
class Case:
    """`code` None: the loss repairs itself."""

    code: str
    action: str
    at: str
    says: str
    published: int
    again: tuple[str, ...]
    """Commands that are sent once more."""


async def everything_gone(ground: Ground) -> None:
    ground.world.store.wipe()
    ground.set_group(None)


async def everything_gone_after_a_cut(ground: Ground) -> None:
    await ground.engine.cut()
    ground.answer("c")
    await ground.engine.work()
    await ground.engine.die()
    ground.world.log.trim(PLACE, 4)
    await everything_gone(ground)


async def redis_gone_over_a_trimmed_inbox(ground: Ground) -> None:
    ground.world.store.wipe()
    ground.world.log.trim(PLACE, 1)


async def retention_has_passed(ground: Ground) -> None:
    ground.answer("c", "d")
    ground.world.log.trim(PLACE, 5)


async def redis_far_back_behind_a_cut(ground: Ground) -> None:
    image = ground.world.store.image()
    ground.answer("c", "d")
    await ground.engine.work()
    await ground.engine.cut()
    await ground.engine.die()
    ground.world.store.rewind(image)
    ground.world.log.trim(PLACE, 6)


async def the_tail_is_lost(ground: Ground) -> None:
    ground.world.log.cut(PLACE, 3)
    ground.set_group(3)


async def the_tail_is_lost_under_the_group(ground: Ground) -> None:
    ground.world.log.cut(PLACE, 3)


async def the_tail_is_another(ground: Ground) -> None:
    """Two inputs are lost, three others have come since."""
    ground.answer("c")
    await ground.engine.work()
    await ground.engine.die()
    ground.world.log.cut(PLACE, 3)
    for number in range(3):
        ground.put(ground.other.again(ground.other.start(Begun(job_id=OTHER[4:]), id=f"x{number}", source="/lab")))


async def the_group_is_ahead(ground: Ground) -> None:
    ground.set_group(99)


async def the_snapshots_do_not_fit(ground: Ground) -> None:
    await ground.engine.cut()
    await ground.engine.die()
    ground.world.store.wipe()
    part = next(
        r
        for r in ground.world.log._partitions[Place("orchestrator.snapshots", SHARD)].records
        if b"history" in (r.key or b"")
    )
    ground.world.log._partitions[Place("orchestrator.snapshots", SHARD)].records.remove(part)


C = "lab:j1/c/1"
K = f"{OTHER}/a/1"
CASES: dict[Callable[[Ground], Awaitable[None]], Case] = {
    everything_gone: Case("nothing-stored", "adopt", "c", "published again", 0, ("lab:j1/a/1", "lab:j1/b/1", C, K)),
    everything_gone_after_a_cut: Case("nothing-stored", "rebuild", "d", "published again", 4, ("lab:j1/d/1",)),
    redis_gone_over_a_trimmed_inbox: Case("history-gone", "adopt", "", "began before offset 1", 4, (K,)),
    retention_has_passed: Case("behind-log-start", "adopt", "c", "the inputs 4 to 4", 5, ()),
    redis_far_back_behind_a_cut: Case("behind-log-start", "rebuild", "e", "nothing", 6, ()),
    the_tail_is_lost: Case("beyond-log-end", "adopt", "c", "up to 1 inputs", 3, ()),
    the_tail_is_lost_under_the_group: Case("group-beyond-log-end", "adopt", "c", "up to 1 inputs", 3, ()),
    the_tail_is_another: Case("other-record", "adopt", "d", "up to 2 inputs", 3, ()),
    the_group_is_ahead: Case("group-beyond-log-end", "adopt", "c", "nothing of the states", 4, ()),
    the_snapshots_do_not_fit: Case("snapshots-damaged", "adopt", "c", "nothing", 4, (C, K)),
}


@pytest.mark.parametrize("damage", CASES, ids=lambda damage: damage.__name__)
async def test_a_damage_is_told_and_repaired(damage: Callable[[Ground], Awaitable[None]]) -> None:
    ground, case = await Ground().begin(), CASES[damage]
    if damage not in (
        everything_gone_after_a_cut,
        redis_far_back_behind_a_cut,
        the_tail_is_another,
        the_snapshots_do_not_fit,
    ):
        await ground.engine.die()
    await damage(ground)
    await ground.restart()
    sent = ground.sent()
    assert ground.engine.count("counterpoint_shard_refused", shard=str(SHARD), code=case.code) == 1

    plan = await ground.recover()

    assert plan.order is not None
    assert (plan.damage.refusal.code, plan.order.action, plan.order.published) == (
        case.code,
        case.action,
        case.published,
    )
    assert case.says in plan.lost
    assert Counter(ground.sent()) - Counter(sent) == Counter(case.again)
    if case.at:
        assert await ground.at() == case.at
        ground.answer(case.at)
        await ground.engine.work()
        assert await ground.at() == chr(ord(case.at) + 1), "it goes on"
    else:
        (blob,) = await ground.world.store.blobs(["lab:j1"])
        assert blob is None


@pytest.mark.parametrize("damage", [the_tail_is_another, retention_has_passed], ids=lambda damage: damage.__name__)
async def test_after_a_repair_everything_is_snapshotted_anew(damage: Callable[[Ground], Awaitable[None]]) -> None:
    """Snapshots of another log say nothing about this one."""
    ground = await Ground().begin()
    await ground.engine.cut()
    if damage is not the_tail_is_another:
        await ground.engine.die()
    await damage(ground)
    await ground.restart()
    await ground.recover()
    before = await ground.process(), await ground.world.store.history("lab:j1", 0, 99)
    await ground.engine.cut()
    await ground.engine.cut()
    await ground.engine.die()
    ground.world.store.wipe()
    await ground.restart()
    assert (await ground.process(), await ground.world.store.history("lab:j1", 0, 99)) == before


async def test_an_order_about_another_damage_is_not_carried_out() -> None:
    ground = await Ground().begin()
    await ground.engine.die()
    await the_group_is_ahead(ground)
    plan = await ground.plan()
    assert plan.order is not None
    await ground.keeping().order([msgspec.structs.replace(plan.order, code="behind-log-start")])
    await ground.restart()
    assert ground.engine.count("counterpoint_shard_refused", shard=str(SHARD), code="group-beyond-log-end") == 1
    assert set(await ground.keeping().unfinished([SHARD])) == {SHARD}


async def test_an_order_holds_though_the_log_that_lost_its_tail_grows_on() -> None:
    """Between the person's look and the engine's the router has appended: beyond its end is now another record."""
    ground = await Ground().begin()
    await ground.engine.die()
    await the_tail_is_lost(ground)
    plan = await ground.plan()
    assert plan.order is not None and plan.order.code == "beyond-log-end"
    await ground.keeping().order([plan.order])
    for number in range(3):
        ground.put(ground.other.again(ground.other.start(Begun(job_id=OTHER[4:]), id=f"x{number}", source="/lab")))
    await ground.restart()
    ground.engine.loop.ownership.review_refused()
    await ground.engine.work()
    assert ground.engine.readiness.problem() is None
    assert await ground.keeping().unfinished([SHARD]) == {}
    assert await ground.at() == "c"


async def test_a_repair_that_is_interrupted_is_carried_out_to_its_end() -> None:
    ground = await Ground().begin()
    await ground.engine.die()
    await the_tail_is_lost_under_the_group(ground)
    plan = await ground.plan()
    assert plan.order is not None
    await ground.keeping().order([plan.order])
    assert await ground.world.store.adopt(SHARD, 4, ShardPosition(3, plan.order.record_id, "half", 2))
    await ground.restart()
    assert ground.engine.readiness.problem() is None
    assert ground.world.log.committed_of(ENGINE_GROUP, PLACE) == 3
    assert await ground.keeping().unfinished([SHARD]) == {}


async def test_a_sound_shard_has_no_damage() -> None:
    ground = await Ground().begin()
    assert list(await ground.keeping().damages(range(SHARDS))) == []


@pytest.mark.parametrize("code", UNREPAIRABLE)
def test_what_needs_another_build_is_said(code: str) -> None:
    facts = Facts(3, ShardPosition(4, "r", "c", 1), 4, 0, 4, 1)
    plan = plan_repair(Damage(facts, Refusal(code, "why"), None), "ann", 5)  # type: ignore[arg-type]
    assert plan.order is None and UNREPAIRABLE[code] in plan.does
