"""What is kept beside simple processes under way: a parent with its child, a limiter with a line, the ended and their
expiry, tombstones, what came early. None is a finding; damage planted on each is found, and freed by the command."""

from __future__ import annotations

import pytest

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.expiry import EXPIRY_TIMER, KEEP_ENDED_MS
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.language import Concurrency, sequence
from orchestrator.runtime.audit import OVERDUE_MS, REPAIR
from orchestrator.runtime.audit_run import Audited
from orchestrator.runtime.clock import timer_fired
from orchestrator.testkit.lab import lab_saga, step
from orchestrator.testkit.lab_children import child, child_saga
from tests.engine import test_early
from tests.engine.test_waits import GOODS
from tests.runtime import test_children, test_limits_run
from tests.runtime.audit_world import STEPS, AuditWorld

PARENT, CHILD = "lab:j1", "lab-child:j1-ship"
LIMITER = test_limits_run.LIMITER
ORDER = "order-fulfilment:o1"
EARLY = "lab:j1"
MADE = ("parent_with_child", "limiter_with_line", "ended", "tombstone", "early")


def children() -> AuditWorld:
    small = child_saga()
    world = AuditWorld(SagaBook([lab_saga(sequence(step("a"), child("ship", small))), small]))
    world.put(test_children.start())
    return world


def limited() -> AuditWorld:
    """One works, two wait in the line."""
    world = AuditWorld(SagaBook([lab_saga(step("a", limit=Concurrency(1)))]))
    world.put(*(test_limits_run.start(key) for key in test_limits_run.KEYS))
    return world


async def parent_with_child() -> AuditWorld:
    world = children()
    await world.work()
    for record in world.log.records("lab.commands"):
        world.put(test_children.answer(record, None))
    for _ in range(4):  # each is an input of another shard, and what it makes is one of a third
        await world.work()
    assert (world.process(PARENT).phase, world.process(CHILD).phase) == ("running", "running")
    return world


async def limiter_with_line() -> AuditWorld:
    world = limited()
    for _ in range(6):
        await world.work()
    limiter = world.process(LIMITER).limiter
    assert limiter is not None and len(limiter.leases) == 1 and sum(map(len, limiter.waiting)) == 2
    return world


async def ended() -> AuditWorld:
    world = AuditWorld()
    world.start("o1")
    for answered in STEPS:
        world.answer(ORDER, answered)
    await world.work()
    assert world.process(ORDER).phase == "completed" and world.process(ORDER).expires_at_ms
    return world


async def tombstone() -> AuditWorld:
    world = await ended()
    world.now_ms += KEEP_ENDED_MS + 1
    due = await world.store.due_timers(range(SHARDS), world.now_ms, 10)
    world.put(*(timer_fired(timer, world.now_ms) for timer in due))
    await world.work()
    assert world.process(ORDER).phase == "expired"
    return world


async def early() -> AuditWorld:
    world = AuditWorld(SagaBook([test_early.SAGA]))
    envelope = Envelope(id="goods", source="/dock", type=GOODS.type)
    stamp = ((SAGA_HEADER, b"lab"), (VERSION_HEADER, b"1"))
    shard = partition_of(EARLY, SHARDS)
    world.put(OutgoingRecord(INBOX, EARLY.encode(), GOODS.to_json(), encode_headers(envelope) + stamp, shard))
    await world.work()
    assert world.process(EARLY).phase == "early"
    return world


WORLDS = {made.__name__: made for made in (parent_with_child, limiter_with_line, ended, tombstone, early)}


def codes(audited: Audited) -> list[tuple[str, str]]:
    return sorted((one.process_id, one.code) for one in audited.findings)


async def freed(world: AuditWorld, audited: Audited) -> None:
    assert {one.frees for one in audited.findings} == {REPAIR}
    await world.repair(audited)
    for _ in range(4):
        await world.work()
    assert codes(await world.audit(deep=True)) == []


@pytest.mark.parametrize("name", WORLDS)
async def test_it_is_no_finding(name: str) -> None:
    audited = await (await WORLDS[name]()).audit(deep=True)
    assert codes(audited) == []
    assert audited.processes > 0


@pytest.mark.parametrize(
    ("name", "process_id", "timer"),
    [
        ("parent_with_child", CHILD, None),
        ("limiter_with_line", LIMITER, None),
        ("ended", ORDER, EXPIRY_TIMER),
        ("tombstone", ORDER, EXPIRY_TIMER),
        ("early", EARLY, "early"),
    ],
)
async def test_its_lost_timer_is_found_and_set_again(name: str, process_id: str, timer: str | None) -> None:
    world = await WORLDS[name]()
    timers = world.store.timers(partition_of(process_id, SHARDS))
    lost = timer or next(found for owner, found in timers if owner == process_id)
    due = timers[process_id, lost]
    world.lose_timer(process_id, lost)
    audited = await world.audit()
    assert codes(audited) == [(process_id, "timer-lost")]
    assert audited.stranded == (process_id,)
    await freed(world, audited)
    assert world.store.timers(partition_of(process_id, SHARDS))[process_id, lost] == due


@pytest.mark.parametrize(("name", "process_id"), [("ended", ORDER), ("tombstone", ORDER), ("early", EARLY)])
async def test_its_timer_that_nobody_fires_is_found(name: str, process_id: str) -> None:
    world = await WORLDS[name]()
    world.now_ms = max(world.store.timers(partition_of(process_id, SHARDS)).values()) + OVERDUE_MS
    assert codes(await world.audit()) == []
    world.now_ms += 1
    assert codes(await world.audit()) == [(process_id, "timer-overdue")]


@pytest.mark.parametrize(
    ("name", "process_id"),
    [
        ("parent_with_child", PARENT),
        ("parent_with_child", CHILD),
        ("limiter_with_line", LIMITER),
        ("ended", ORDER),
        ("tombstone", ORDER),
        ("early", EARLY),
    ],
)
async def test_its_lost_state_is_found_and_folded_again(name: str, process_id: str) -> None:
    world = await WORLDS[name]()
    before = world.process(process_id).phase
    world.lose_state(process_id)
    audited = await world.audit()
    assert set(codes(audited)) == {(process_id, "state-gone")}
    await freed(world, audited)
    assert world.process(process_id).phase == before


@pytest.mark.parametrize("name", WORLDS)
async def test_its_packed_state_that_cannot_be_unpacked_is_found(name: str) -> None:
    """Half of what was packed: a value of ours by its first byte, and no more than that."""
    world = await WORLDS[name]()
    process_id = next(iter(world.states()))
    world.store._shards[partition_of(process_id, SHARDS)].blobs[process_id] = b"\x01half"
    audited = await world.audit()
    assert codes(audited) == [(process_id, "state-unreadable")]
    await freed(world, audited)


async def test_a_parent_that_waits_for_nobody_is_found() -> None:
    world = await parent_with_child()
    world.overwrite(PARENT, steps={}, timers={})
    audited = await world.audit()
    assert codes(audited) == [(PARENT, "nothing-awaited")]
    await freed(world, audited)
    assert "ship" in world.process(PARENT).steps


async def test_an_ended_process_in_the_index_of_those_under_way_is_found() -> None:
    world = await ended()
    shard = world.store._shards[partition_of(ORDER, SHARDS)]
    shard.indexes.setdefault("order-fulfilment:running", {})[ORDER] = 1
    audited = await world.audit()
    assert codes(audited) == [(ORDER, "index-entry-left-over")]
    assert audited.stranded == ()
    await freed(world, audited)


async def test_a_tombstone_in_a_list_is_found() -> None:
    world = await tombstone()
    shard = world.store._shards[partition_of(ORDER, SHARDS)]
    shard.indexes.setdefault("order-fulfilment:completed", {})[ORDER] = 1
    audited = await world.audit()
    assert codes(audited) == [(ORDER, "index-entry-left-over")]
    await freed(world, audited)
