"""What `audit --deep` finds beyond states and awaited commands: dead letters that somebody waits for, starts that never
became a process, and commands that a service has begun and not told the end of. Each is planted; each has its twin
that must be no finding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.record import IncomingRecord
from contracts.topics import INBOX
from orchestrator.runtime.audit import REPAIR
from orchestrator.runtime.audit_letters import address
from orchestrator.runtime.audit_marks import MARGIN_MS, UNTOLD_MS, Mark
from orchestrator.runtime.audit_run import LETTERS_MS
from orchestrator.runtime.router import ROUTER_GROUP
from tests.runtime.audit_world import AuditWorld
from tests.runtime.test_audit import codes, passed

P = "order-fulfilment:o1"
CHARGE = f"{P}/charge/1"
FENCE = "f" * 24


@pytest.fixture
async def world() -> AuditWorld:
    """An order that waits for its first three answers."""
    world = AuditWorld()
    world.start("o1")
    await world.work()
    return world


def command(world: AuditWorld) -> IncomingRecord:
    (found,) = (r for r in world.log.records("payment.commands") if dict(r.headers)["ce_id"] == CHARGE.encode())
    return found


async def test_a_dead_lettered_command_that_its_process_waits_for_is_found(world: AuditWorld) -> None:
    letter = world.give_up(command(world), "payment", "invalid-payload")
    assert codes(await world.audit(deep=True)) == [], "its service may still be at it"
    passed(world, "counterpoint.payment", "payment.commands")
    audited = await world.audit(deep=True)
    assert codes(audited) == [(P, "command-dead-lettered")]
    (found,) = audited.findings
    assert found.strands
    assert "given up by payment" in found.why and "invalid-payload" in found.why
    assert found.frees == f"counterpoint dead-letters replay {address(letter)}"


async def test_a_dead_lettered_command_whose_answer_was_heard_is_none(world: AuditWorld) -> None:
    world.give_up(command(world), "payment", "handler-failed")
    passed(world, "counterpoint.payment", "payment.commands")
    world.answer(P, "charge")
    await world.work()
    assert codes(await world.audit(deep=True)) == []


async def test_a_dead_lettered_answer_is_found(world: AuditWorld) -> None:
    world.answer(P, "charge", topic="payment.events")
    letter = world.give_up(world.log.records("payment.events")[-1], "orchestrator", "invalid-payload")
    passed(world, ROUTER_GROUP, "payment.events")
    audited = await world.audit(deep=True)
    assert codes(audited) == [(P, "answer-dead-lettered")]
    assert audited.findings[0].frees.endswith(address(letter))
    world.answer(P, "charge")
    await world.work()
    assert codes(await world.audit(deep=True)) == []


def start_record(order: str, topic: str) -> IncomingRecord:
    """As the shop published it, or as the router would have brought it to the inbox."""
    elsewhere = AuditWorld()
    elsewhere.start(order)
    (record,) = elsewhere.log.records(INBOX)
    if topic == INBOX:
        return record
    headers = tuple(pair for pair in record.headers if not pair[0].startswith("cp_"))
    return record._replace(topic=topic, key=order.encode(), headers=headers)


@pytest.mark.parametrize(("topic", "reason"), [(INBOX, "too-old"), ("orders.events", "too-large")])
async def test_a_dead_lettered_start_is_found_until_its_process_is_there(topic: str, reason: str) -> None:
    world = AuditWorld()
    letter = world.give_up(start_record("o9", topic), "orchestrator", reason)
    world.start("o8")
    await world.work()
    audited = await world.audit(deep=True)
    assert codes(audited) == [("order-fulfilment:o9", "start-dead-lettered")]
    assert audited.stranded == ("order-fulfilment:o9",)
    assert audited.findings[0].frees == f"counterpoint dead-letters replay {address(letter)}"
    assert codes(await world.audit()) == [], "only --deep reads dead letters"
    world.start("o9")
    await world.work()
    assert codes(await world.audit(deep=True)) == []


async def test_garbage_and_what_is_no_start_are_none(world: AuditWorld) -> None:
    start = start_record("o9", "orders.events")
    world.give_up(start._replace(value=b"{"), "orchestrator", "invalid-json")
    world.give_up(start._replace(headers=(("ce_type", b"orders.placed.v1"),)), "orchestrator", "missing-attribute")
    world.give_up(command(world)._replace(headers=()), "payment", "missing-attribute")
    assert codes(await world.audit(deep=True)) == []


async def test_a_start_that_was_given_up_long_ago_is_none(world: AuditWorld) -> None:
    """What it may have started since is forgotten, tombstone and all."""
    world.give_up(start_record("o9", "orders.events"), "orchestrator", "too-large")
    world.now_ms += LETTERS_MS + 1
    assert "start-dead-lettered" not in {code for _, code in codes(await world.audit(deep=True))}


# Marks.


def mark(command_id: str = CHARGE, age_ms: int = UNTOLD_MS) -> Mark:
    return Mark("payment", command_id, FENCE, age_ms)


def late(world: AuditWorld) -> None:
    """The command's deadline is over, and its timers were set again: nothing else is wrong."""
    waiting = dict(world.process(P).timers)
    world.now_ms += UNTOLD_MS + MARGIN_MS
    world.overwrite(P, timers=dict.fromkeys(waiting, world.now_ms + 1))


async def test_a_command_that_was_begun_and_never_told_is_found(world: AuditWorld) -> None:
    late(world)
    assert codes(await world.audit(deep=True)) == []
    world.marks.marks = [mark()]
    audited = await world.audit(deep=True)
    assert codes(audited) == [(P, "execution-untold")]
    assert audited.findings[0].frees == REPAIR
    assert f"payment began {CHARGE} 30 minutes ago" in audited.findings[0].why


async def test_its_repair_sends_the_command_again(world: AuditWorld) -> None:
    late(world)
    world.marks.marks = [mark()]
    assert (await world.repair(await world.audit(deep=True))).resent == 1
    sent = [r for r in world.log.records("payment.commands") if dict(r.headers)["ce_id"] == CHARGE.encode()]
    assert len(sent) == 2 and sent[0].value == sent[1].value


async def test_a_mark_of_a_command_before_its_deadline_is_none(world: AuditWorld) -> None:
    world.marks.marks = [mark()]
    assert codes(await world.audit(deep=True)) == []


async def test_a_young_mark_is_none(world: AuditWorld) -> None:
    late(world)
    world.marks.marks = [mark(age_ms=UNTOLD_MS - 1)]
    assert codes(await world.audit(deep=True)) == []


async def test_a_mark_that_nobody_waits_for_is_none(world: AuditWorld) -> None:
    late(world)
    world.marks.marks = [mark("order-fulfilment:gone/charge/1"), mark("plain-id")]
    assert codes(await world.audit(deep=True)) == []


@pytest.mark.parametrize("moves", ["settled", "executed again", "heard"])
async def test_a_mark_that_moves_while_the_audit_looks_is_none(world: AuditWorld, moves: str) -> None:
    late(world)
    world.marks.marks = [mark()]

    async def move() -> None:
        world.on_pause = lambda: None
        if moves == "settled":
            world.marks.marks = []
        elif moves == "executed again":
            world.marks.marks = [replace(mark(), fence="g" * 24)]
        else:
            world.answer(P, "charge")
            await world.work()

    world.on_pause = move
    assert codes(await world.audit(deep=True)) == []


async def test_a_mark_of_a_process_that_is_stuck_there_names_the_step_to_retry(world: AuditWorld) -> None:
    world.overwrite(P, stuck={"dispatch": "silent", "charge/undo": "failed"}, steps={}, timers={}, phase="stuck")
    world.marks.marks = [mark(f"{P}/charge/1"), mark(f"{P}/dispatch/2"), mark(f"{P}/charge/undo/1")]
    audited = await world.audit(deep=True)
    found = {one.why.split()[2]: one.frees for one in audited.findings if one.code == "execution-untold"}
    assert found == {
        f"{P}/dispatch/2": f"counterpoint retry {P} --step dispatch",
        f"{P}/charge/undo/1": f"counterpoint retry {P} --step charge/undo",
    }
