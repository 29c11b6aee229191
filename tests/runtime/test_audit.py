"""The audit finds every planted damage, says which command frees it, and that command does; and it tells of nothing
else, also while the system works."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec
import pytest

from contracts.ids import partition_of
from contracts.topics import DOMAIN_PARTITIONS, INBOX, SHARDS
from orchestrator.engine.process import Process
from orchestrator.runtime.audit import OVERDUE_MS, RECOVER, REPAIR
from orchestrator.runtime.audit_memory import MemoryAuditStore
from orchestrator.runtime.audit_run import Audited
from orchestrator.runtime.audit_store import Sight, Wanted
from orchestrator.runtime.auditor import Pace
from orchestrator.runtime.log import Place
from orchestrator.runtime.router import ROUTER_GROUP
from tests.runtime.audit_world import STEPS, AuditWorld


@pytest.fixture
async def world() -> AuditWorld:
    """Three orders: one under way, one past its pivot, one ended."""
    world = AuditWorld()
    for order, answered in (("o1", ()), ("o2", STEPS[:3]), ("o3", STEPS)):
        process_id = world.start(order)
        for step in answered:
            world.answer(process_id, step)
    await world.work()
    return world


P = "order-fulfilment:o1"
SHARD = partition_of(P, SHARDS)


def codes(audited: Audited) -> list[tuple[str, str]]:
    return sorted((one.process_id, one.code) for one in audited.findings)


async def freed(world: AuditWorld, audited: Audited) -> None:
    """The command that the findings name, and then the system goes on."""
    assert {one.frees for one in audited.findings} == {REPAIR}
    await world.repair(audited)
    await world.work()
    await world.work()  # a shard that was dropped is noticed with the first write, and claimed with the next turn
    again = await world.audit(deep=True)
    assert codes(again) == []
    assert world.process(P).phase == "running"


def assert_folded_again(after: Process, before: Process) -> None:
    """The same, but for the nudge: an ignored input."""
    assert msgspec.structs.replace(after, history_length=before.history_length) == before
    assert after.history_length == before.history_length + 1


async def test_a_sound_system_has_none_stranded(world: AuditWorld) -> None:
    audited = await world.audit(deep=True)
    assert codes(audited) == []
    assert audited.stranded == ()
    assert audited.processes == 3
    assert audited.at_ms == world.now_ms


async def test_a_removed_timer_is_found_and_set_again(world: AuditWorld) -> None:
    world.lose_timer(P, "charge/silence")
    audited = await world.audit()
    assert codes(audited) == [(P, "timer-lost")]
    assert audited.stranded == (P,)
    await freed(world, audited)
    assert world.store.timers(SHARD)[P, "charge/silence"] == world.process(P).timers["charge/silence"]


async def test_a_removed_state_is_found_by_what_names_it_and_folded_again(world: AuditWorld) -> None:
    before = world.process(P)
    world.lose_state(P)
    audited = await world.audit()
    assert {code for _, code in codes(audited)} == {"state-gone"}
    assert audited.stranded == (P,)
    await freed(world, audited)
    assert_folded_again(world.process(P), before)


async def test_a_lost_index_entry_is_found_and_hides_a_process_but_strands_none(world: AuditWorld) -> None:
    world.lose_index_entry(P, "order-fulfilment:running")
    audited = await world.audit()
    assert codes(audited) == [(P, "index-entry-lost")]
    assert audited.stranded == ()
    await freed(world, audited)
    assert P in world.store.indexes(SHARD)["order-fulfilment:running"]


async def test_an_entry_in_the_wrong_index_is_found_and_removed(world: AuditWorld) -> None:
    world.store._shards[SHARD].indexes.setdefault("order-fulfilment:completed", {})[P] = 1
    audited = await world.audit()
    assert codes(audited) == [(P, "index-entry-left-over")]
    await freed(world, audited)


async def test_a_process_that_waits_for_nothing_is_found_and_folded_again(world: AuditWorld) -> None:
    before = world.process(P)
    world.overwrite(P, timers={}, steps={})
    audited = await world.audit()
    assert codes(audited) == [(P, "nothing-awaited")]
    await freed(world, audited)
    assert_folded_again(world.process(P), before)


async def test_an_answer_awaited_without_a_timer_is_found(world: AuditWorld) -> None:
    timers = {name: due for name, due in world.process(P).timers.items() if name != "charge/silence"}
    world.overwrite(P, timers=timers)
    audited = await world.audit()
    assert codes(audited) == [(P, "no-silence-timer")]
    await freed(world, audited)


async def test_a_state_that_cannot_be_read_is_found(world: AuditWorld) -> None:
    world.store._shards[SHARD].blobs[P] = b"\xc1"
    audited = await world.audit()
    assert codes(audited) == [(P, "state-unreadable")]
    await freed(world, audited)


async def test_a_history_that_lost_an_entry_is_found(world: AuditWorld) -> None:
    world.store._shards[SHARD].history[P].pop()
    audited = await world.audit()
    assert codes(audited) == [(P, "history-differs")]
    await freed(world, audited)


async def test_a_timer_that_no_clock_fires_is_found_after_a_while_and_not_before(world: AuditWorld) -> None:
    world.now_ms = world.process(P).timers["charge/silence"] + OVERDUE_MS
    assert codes(await world.audit()) == []
    world.now_ms += 1
    audited = await world.audit()
    assert (P, "timer-overdue") in codes(audited)
    assert all("clock" in one.frees for one in audited.findings)


def command_place(step_topic: str, order_id: str = "o1") -> Place:
    return Place(step_topic, partition_of(order_id, DOMAIN_PARTITIONS))


def passed(world: AuditWorld, group: str, topic: str) -> None:
    """The group has read everything."""
    world.log.commit_start(group, topic)
    offsets = world.log._groups[group].offsets
    offsets.update({place: world.log.bounds_of(place)[1] for place in world.log.places(topic)})


async def test_a_command_that_its_service_skipped_is_found_and_sent_again(world: AuditWorld) -> None:
    assert codes(await world.audit(deep=True)) == []
    passed(world, "counterpoint.payment", "payment.commands")
    audited = await world.audit(deep=True)
    assert codes(audited) == [(P, "command-passed-over")]
    assert (await world.repair(audited)).resent == 1
    sent = [r for r in world.log.records("payment.commands") if dict(r.headers)["ce_id"] == f"{P}/charge/1".encode()]
    assert len(sent) == 2
    assert sent[0].value == sent[1].value
    assert sent[0].headers == sent[1].headers
    assert codes(await world.audit(deep=True)) == []


async def test_a_command_that_is_in_no_topic_is_found_and_sent_again(world: AuditWorld) -> None:
    place = command_place("payment.commands")
    world.log.cut(place, world.log.bounds_of(place)[0])
    audited = await world.audit(deep=True)
    assert (P, "command-lost") in codes(audited)
    await freed(world, audited)


async def test_an_answer_that_the_router_skipped_is_found_and_asked_for_again(world: AuditWorld) -> None:
    world.answer(P, "charge", topic="payment.events")
    assert codes(await world.audit(deep=True)) == []
    passed(world, ROUTER_GROUP, "payment.events")
    audited = await world.audit(deep=True)
    assert codes(audited) == [(P, "answer-unheard")]
    assert (await world.repair(audited)).resent == 1
    world.answer(P, "charge")
    await world.work()
    assert codes(await world.audit(deep=True)) == []


async def test_an_answer_heard_while_the_audit_looks_is_no_finding(world: AuditWorld) -> None:
    world.answer(P, "charge", topic="payment.events")
    passed(world, ROUTER_GROUP, "payment.events")

    async def heard() -> None:
        world.on_pause = lambda: None
        world.answer(P, "charge")
        await world.work()

    world.on_pause = heard
    assert codes(await world.audit(deep=True)) == []


async def test_a_shard_that_nobody_works_on_is_found(world: AuditWorld) -> None:
    world.answer(P, "charge")
    audited = await world.audit()
    assert [(one.shard, one.code) for one in audited.findings] == [(SHARD, "shard-idle")]
    assert audited.stranded == (f"shard {SHARD}",)
    world.on_pause = world.work
    assert codes(await world.audit()) == []


async def test_a_log_that_lost_its_tail_is_found_and_a_person_sent_to_recover(world: AuditWorld) -> None:
    world.log.cut(world.place(SHARD), 0)
    audited = await world.audit()
    assert [(one.shard, one.code, one.frees) for one in audited.findings] == [
        (SHARD, "shard-refused", f"{RECOVER} {SHARD}")
    ]


async def test_a_shard_whose_inputs_expired_is_not_dropped(world: AuditWorld) -> None:
    world.log.trim(world.place(SHARD), 1)
    world.lose_state(P)
    audited = await world.audit()
    assert (await world.repair(audited)).kept == (SHARD,)
    assert world.store._shards[SHARD].position is not None


async def test_a_process_that_went_on_is_not_mended_by_what_was_seen_before(world: AuditWorld) -> None:
    world.lose_timer(P, "charge/silence")
    audited = await world.audit()
    world.answer(P, "reserve")
    await world.work()
    assert (await world.repair(audited)).mended == ()


class BusyStore(MemoryAuditStore):
    """Between any two of its answers the system works on: no read is atomic."""

    def __init__(self, world: AuditWorld, work: Callable[[], Awaitable[None]]) -> None:
        super().__init__(world.store)
        self._work = work

    async def sights(self, wanted: Sequence[Wanted]) -> Sequence[Sight]:
        found = []
        for one in wanted:
            blob = (await super().sights([Wanted(one.process_id)]))[0].blob
            await self._work()
            found.append(replace((await super().sights([one]))[0], blob=blob))
        return found


async def test_nothing_is_told_of_a_system_that_works_all_the_time() -> None:
    """Between any two reads of the audit an order moves on; what it saw half is no finding."""
    world = AuditWorld()
    orders = [world.start(f"w{number}") for number in range(40)]
    await world.work()
    turns = itertools.count()

    async def trade() -> None:
        turn = next(turns)
        world.answer(orders[turn % len(orders)], STEPS[(turn // len(orders)) % len(STEPS)])
        await world.work()

    world.audit_store = BusyStore(world, trade)
    world.on_pause = trade
    for _ in range(3):
        audited = await world.audit(deep=True)
        assert codes(audited) == []
    assert sum(world.process(order).phase == "completed" for order in orders) == len(orders)


async def test_the_same_system_has_its_planted_damage_found_all_the_same() -> None:
    world = AuditWorld()
    orders = [world.start(f"w{number}") for number in range(10)]
    await world.work()
    turns = itertools.count()

    async def trade() -> None:
        world.start(f"n{next(turns)}")
        await world.work()

    world.lose_timer(orders[3], "charge/silence")
    world.audit_store = BusyStore(world, trade)
    assert codes(await world.audit()) == [(orders[3], "timer-lost")]


async def test_a_suspect_that_moves_is_not_told_and_one_that_stays_is(world: AuditWorld) -> None:
    """The second look decides: the planted fault is the same in both."""
    world.lose_timer(P, "charge/silence")

    async def moves() -> None:
        world.on_pause = lambda: None
        world.answer(P, "reserve")
        world.store._shards[SHARD].timers[P, "charge/silence"] = world.process(P).timers["charge/silence"]
        await world.work()

    world.on_pause = moves
    assert codes(await world.audit()) == []
    world.lose_timer(P, "charge/silence")
    assert codes(await world.audit()) == [(P, "timer-lost")]


async def test_the_pace_leaves_all_but_its_share_to_others() -> None:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(0.01, lambda: now[0], sleep)
    worked = 0.0
    for piece in (0.004, 0.02, 0.0, 0.001):
        pace.start()
        now[0] += piece
        worked += piece
        await pace.rest()
    assert worked / now[0] <= 0.0101
    assert len(slept) == 3


async def test_the_inbox_stays_as_it_is(world: AuditWorld) -> None:
    before = world.log.records(INBOX)
    audited = await world.audit(deep=True)
    await world.repair(replace(audited))
    assert world.log.records(INBOX) == before
