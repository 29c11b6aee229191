"""`counterpoint audit` as a person runs it."""

from __future__ import annotations

import asyncio

import pytest

from contracts.ids import partition_of
from contracts.topics import SHARDS
from tests.cli.conftest import CommandLine, World
from tests.runtime.audit_world import AuditWorld

P = "order-fulfilment:o1"
TIMER = "charge/silence"


@pytest.fixture
def kept(world: World, monkeypatch: pytest.MonkeyPatch) -> AuditWorld:
    """One order under way, in what the audit reads."""
    monkeypatch.setattr("orchestrator.runtime.auditor.LOOK_PAUSE_S", 0)
    monkeypatch.setattr("orchestrator.runtime.audit_run.IDLE_PAUSE_S", 0)

    async def make() -> AuditWorld:
        made = AuditWorld()
        made.now_ms = world.now_ms
        made.start("o1")
        await made.work()
        return made

    made = asyncio.run(make())
    world.connections.store, world.connections.log = made.store, made.log
    return made


def test_a_sound_system_has_none_stranded(counterpoint: CommandLine, kept: AuditWorld) -> None:
    result = counterpoint("audit", "--deep")
    assert result.exit_code == 0
    assert result.stdout == "0 stranded as of 2026-01-01T00:00:01.000Z (1 process)\n"


def test_a_stranded_process_is_named_with_why_and_the_command_that_frees_it(
    counterpoint: CommandLine, kept: AuditWorld
) -> None:
    kept.lose_timer(P, TIMER)
    result = counterpoint("audit")
    assert result.exit_code == 1
    assert "1 stranded as of 2026-01-01T00:00:01.000Z" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith(P))
    assert "timer-lost" in row
    assert f"its timer {TIMER} is not set, so it will never fire" in row
    assert "counterpoint audit --repair" in row


def test_the_repair_frees_it(counterpoint: CommandLine, kept: AuditWorld) -> None:
    kept.lose_timer(P, TIMER)
    result = counterpoint("audit", "--repair", "--yes")
    assert result.exit_code == 0
    assert "timers and indexes of 1 processes derived again" in result.stderr
    assert counterpoint("audit").exit_code == 0
    assert kept.store.timers(partition_of(P, SHARDS))[P, TIMER] == kept.process(P).timers[TIMER]


def test_json_tells_the_same(counterpoint: CommandLine, kept: AuditWorld) -> None:
    assert counterpoint.json("audit")["stranded"] == []
    kept.lose_index_entry(P, "order-fulfilment:running")
    result = counterpoint("audit", "--json")
    assert result.exit_code == 1
    assert '"code": "index-entry-lost"' in result.stdout
    assert '"strands": false' in result.stdout
    said = counterpoint.json("audit", "--repair", "--yes")
    assert said["repaired"]["mended"] == [P]


def test_a_stack_that_is_away_is_told_in_one_sentence(counterpoint: CommandLine, world: World) -> None:
    world.connections.failure = OSError("refused")
    result = counterpoint("audit")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
