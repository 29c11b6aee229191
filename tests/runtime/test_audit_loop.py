"""The audit inside the engine: its shards only, told once, in metrics always, and it stops when asked to."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.audit import OVERDUE_MS
from orchestrator.runtime.audit_loop import AuditLoop, AuditMetrics
from tests.runtime.audit_world import AuditWorld

P = "order-fulfilment:o1"
SHARD = partition_of(P, SHARDS)


class Setting:
    def __init__(self) -> None:
        self.world = AuditWorld()
        self.registry = CollectorRegistry()
        self.owned = frozenset((SHARD,))
        self.loop = AuditLoop(
            self.world.audit_store,
            lambda: self.owned,
            AuditMetrics(self.registry, lambda: 77.0),
            monotonic=asyncio.get_running_loop().time,
            share=1,
        )

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
async def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr("orchestrator.runtime.auditor.LOOK_PAUSE_S", 0)
    found = Setting()
    found.world.start("o1")
    await found.world.work()
    return found


async def test_a_round_is_told_in_metrics(setting: Setting) -> None:
    await setting.loop.round(setting.owned)
    assert setting.gauge("counterpoint_stranded_processes") == 0
    assert setting.gauge("counterpoint_audit_processes") == 1
    assert setting.gauge("counterpoint_audit_ended_seconds") == 77
    setting.world.lose_timer(P, "charge/silence")
    await setting.loop.round(setting.owned)
    assert setting.gauge("counterpoint_stranded_processes") == 1
    assert setting.gauge("counterpoint_audit_findings", code="timer-lost") == 1
    setting.world.store._shards[SHARD].timers[P, "charge/silence"] = setting.world.process(P).timers["charge/silence"]
    await setting.loop.round(setting.owned)
    assert setting.gauge("counterpoint_stranded_processes") == 0
    assert setting.gauge("counterpoint_audit_findings", code="timer-lost") is None


async def test_a_finding_is_logged_once(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    setting.world.lose_timer(P, "charge/silence")
    for _ in range(3):
        await setting.loop.round(setting.owned)
    assert capsys.readouterr().out.count("stranded") == 1


async def test_other_shards_are_others_business(setting: Setting) -> None:
    setting.world.lose_timer(P, "charge/silence")
    setting.owned = frozenset((SHARD + 1,))
    found = await setting.loop.round(setting.owned)
    assert (found.processes, found.findings) == (0, [])


async def test_a_shard_that_was_given_away_meanwhile_is_not_told(setting: Setting) -> None:
    setting.world.lose_timer(P, "charge/silence")
    before, setting.owned = setting.owned, frozenset()
    assert (await setting.loop.round(before)).findings == []


async def test_it_ends_when_asked_to_in_the_middle_of_a_round(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspect makes it wait for the second look; it does not wait that out."""
    monkeypatch.setattr("orchestrator.runtime.auditor.LOOK_PAUSE_S", 3_600)
    setting.world.lose_timer(P, "charge/silence")
    running = asyncio.create_task(setting.loop.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    setting.loop.stop()
    await asyncio.wait_for(running, 30)
    assert setting.gauge("counterpoint_audit_ended_seconds") == 0


async def test_timers_are_judged_by_the_time_of_the_broker_and_by_no_other(setting: Setting) -> None:
    """Our own clock may be minutes fast: nothing is overdue by it."""
    due = setting.world.process(P).timers["charge/silence"]
    await setting.loop.round(setting.owned)
    assert setting.gauge("counterpoint_audit_findings", code="timer-overdue") is None, "no append time is known"
    setting.loop.observe(due + OVERDUE_MS - 1_000)
    await setting.loop.round(setting.owned)
    assert setting.gauge("counterpoint_audit_findings", code="timer-overdue") is None
    setting.loop.observe(due + OVERDUE_MS + 60_000)
    await setting.loop.round(setting.owned)
    assert setting.gauge("counterpoint_audit_findings", code="timer-overdue")
