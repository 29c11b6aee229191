"""Limits in the real engine loop: process and limiter live on different shards, and engines die at every point."""

from __future__ import annotations

import pytest

from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.engine.process import Process, decode_process
from orchestrator.language import Concurrency, Rate
from orchestrator.language.limits import Limit
from orchestrator.runtime.clock import timer_fired
from orchestrator.runtime.readmodel import Query, ReadModel
from orchestrator.runtime.rules import Rules, rules_of
from orchestrator.testkit.lab import Begun, Done, lab_saga, step
from tests.runtime.fake_engine import EFFECTS
from tests.runtime.world import TOPICS, World

KEYS = ("j1", "j2", "j3")
LIMITER = "limiter:concurrency:lab.a"
COMMANDS = "lab.commands"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setitem(TOPICS, COMMANDS, 4)
    assert EFFECTS in TOPICS
    return World()


def rules(limit: Limit) -> Rules:
    return rules_of(SagaBook([lab_saga(step("a", limit=limit))]))


def start(key: str) -> OutgoingRecord:
    begun, process = Begun(job_id=key), f"lab:{key}"
    stamp = ((SAGA_HEADER, b"lab"), (VERSION_HEADER, b"1"))
    headers = (*encode_headers(Envelope(id=f"start-{key}", source="/lab", type=begun.type)), *stamp)
    return OutgoingRecord(INBOX, process.encode(), begun.to_json(), headers, partition_of(process, SHARDS))


def answer(command: str) -> OutgoingRecord:
    process, done = command.partition("/")[0], Done(job_id="j", step="a")
    envelope = Envelope(
        id=f"answer-{command}", source="/lab", type=done.type, process_id=process, causation_id=command
    )  # fmt: skip
    shard = partition_of(process, SHARDS)
    return OutgoingRecord(INBOX, process.encode(), done.to_json(), encode_headers(envelope), shard)


def commands(world: World) -> list[str]:
    """Ids of the commands that were sent, repeats once."""
    found = (decode_headers(record.headers).id for record in world.log.records(COMMANDS))
    return list(dict.fromkeys(found))


async def state(world: World, process: str) -> Process:
    (blob,) = await world.store.blobs([process])
    assert blob is not None, process
    return decode_process(blob)


def test_they_are_on_different_shards() -> None:
    shards = {partition_of(name, SHARDS) for name in (LIMITER, *(f"lab:{key}" for key in KEYS))}
    assert len(shards) > 2 and partition_of(LIMITER, SHARDS) not in {partition_of(f"lab:{key}", SHARDS) for key in KEYS}


async def test_one_after_the_other(world: World) -> None:
    engine = await world.engine(rules(Concurrency(1)))
    world.put(*(start(key) for key in KEYS))
    answered: set[str] = set()
    for _ in KEYS:
        await engine.work(rounds=40)
        (command,) = set(commands(world)) - answered
        world.put(answer(command))
        answered.add(command)
    await engine.work(rounds=40)

    assert [(await state(world, f"lab:{key}")).phase for key in KEYS] == ["completed"] * 3
    limiter = (await state(world, LIMITER)).limiter
    assert limiter is not None and (limiter.leases, limiter.waiting) == ({}, ())
    labels = {"kind": "concurrency", "limiter": "lab.a"}
    assert engine.count("counterpoint_permits_total", **labels, result="granted") == 3
    assert engine.count("counterpoint_permits_waiting", **labels) == 0
    assert engine.count("counterpoint_permit_wait_seconds_count", **labels) == 3


async def test_nobody_lists_a_limiter_and_everybody_may_read_it(world: World) -> None:
    engine = await world.engine(rules(Concurrency(1)))
    world.put(start("j1"))
    await engine.work(rounds=40)
    reader = ReadModel(world.store)
    assert [process.id for process in await reader.find(Query())] == ["lab:j1"]
    assert sum((await reader.counts()).values()) == 1
    found = await reader.get(LIMITER)
    assert found is not None and found.phase == "limiter" and await reader.history(LIMITER) == []


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("dies_after", range(1, 9))
async def test_an_engine_dies_at_any_point(world: World, dies_after: int, stored: bool) -> None:
    """Never two at once; all are done in the end."""
    engine, limit = await world.engine(rules(Concurrency(1))), Concurrency(1)
    world.put(*(start(key) for key in KEYS))
    answered: set[str] = set()
    for moment in range(60):
        if moment == dies_after:
            world.store.faults.away = not stored
            await engine.loop.flush()
            world.store.faults.away = False
            await engine.die()
            engine = await world.engine(rules(limit))
        await engine.work(rounds=1, flush=stored)
        open_commands = [one for one in commands(world) if one not in answered]
        assert len(open_commands) <= 1
        if open_commands and moment % 5 == 4:
            world.put(answer(open_commands[0]))
            answered.add(open_commands[0])
    await engine.work(rounds=40)
    assert len(answered) == 3
    assert [(await state(world, f"lab:{key}")).phase for key in KEYS] == ["completed"] * 3


async def test_a_rate_sets_the_timer_of_the_process(world: World) -> None:
    engine = await world.engine(rules(Rate(1, per="minute")))
    world.put(*(start(key) for key in KEYS))
    await engine.work(rounds=40)
    assert len(commands(world)) == 1
    for passed in (1, 2):
        world.now_ms += 60_000
        due = await world.store.due_timers(range(SHARDS), world.now_ms, 100)
        due = [timer for timer in due if timer.timer_id == "a/permit"]
        assert len(due) == 1
        world.put(*(timer_fired(timer, world.now_ms) for timer in due))
        await engine.work(rounds=40)
        assert len(commands(world)) == passed + 1
