"""The router over a memory log: nothing is lost, order is kept, and no fault of the log stops it for good."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from contracts.record import OutgoingRecord
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS, SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.backoff import Backoff
from orchestrator.runtime.log import Place
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.router import ROUTER_GROUP, Router, RouterSettings, router_topics
from orchestrator.sagas import all_sagas
from tests.runtime.test_router_rules import CAPTURED, PLACED, outcome, record

BOOK = SagaBook(all_sagas())
EVENTS = Place("orders.events", 0)


class World:
    def __init__(self) -> None:
        self.now_ms = 1_000_000
        topics = dict.fromkeys(router_topics(BOOK), 2) | {INBOX: SHARDS, ORCHESTRATOR_DEAD_LETTERS: 1}
        self.log = MemoryLog(topics, lambda: self.now_ms)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.readiness = Readiness()
        self.heard: list[int] = []

    async def router(self, commit_interval_s: float = 0.0) -> Router:
        router = Router(
            self.log, BOOK, self.metrics.router, self.readiness,
            RouterSettings(poll_ms=5, commit_interval_s=commit_interval_s), on_append=self.heard.append,
        )  # fmt: skip
        await router.open()
        return router

    def put(self, *numbers: int, value: bytes | None = None) -> None:
        """Outcomes of one process, in order, on one partition."""
        for number in numbers:
            came = outcome(CAPTURED, id=f"e{number}", value=value)
            self.log.put(OutgoingRecord("orders.events", None, came.value or b"", came.headers, 0))

    def inbox(self) -> list[str]:
        return [dict(r.headers)["ce_id"].decode() for r in self.log.records(INBOX)]

    def letters(self) -> list[dict[str, bytes]]:
        return [dict(r.headers) for r in self.log.records(ORCHESTRATOR_DEAD_LETTERS)]

    def committed(self) -> int | None:
        return self.log.committed_of(ROUTER_GROUP, EVENTS)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda self: 0.001)


async def test_a_batch_is_routed_counted_and_committed(world: World) -> None:
    router = await world.router()
    world.put(1, 2, 3)
    for came in (record(PLACED, id="s"), record(PLACED, id="bad", key=b"x"), record(PLACED, id="no", type="a.b.v1")):
        world.log.put(OutgoingRecord("orders.events", came.key, came.value or b"", came.headers, 0))

    assert await router.step(0) == 6

    assert world.inbox() == ["e1", "e2", "e3", "s"]
    assert [letter["dl_reason"] for letter in world.letters()] == [b"key-mismatch"]
    assert world.committed() == 6
    assert world.heard == [world.now_ms]
    assert world.count("counterpoint_router_records_total", kind="outcome") == 3
    assert world.count("counterpoint_router_records_total", kind="start") == 1
    assert world.count("counterpoint_router_skipped_total", reason="unknown-type") == 1
    assert world.count("counterpoint_dead_letters_total", role="router", reason="key-mismatch") == 1
    assert world.readiness.problem() is None


async def test_a_batch_of_which_nobody_wants_anything_is_committed_too(world: World) -> None:
    router = await world.router()
    came = record(PLACED, type="a.b.v1")
    world.log.put(OutgoingRecord("orders.events", None, b"", came.headers, 0))
    assert await router.step(0) == 1
    assert world.committed() == 1 and world.inbox() == []


async def test_killed_between_append_and_commit_nothing_is_lost_and_some_is_repeated(world: World) -> None:
    first = await world.router(commit_interval_s=3_600)
    world.put(1, 2)
    await first.step(0)
    assert world.committed() is None and world.inbox() == ["e1", "e2"]
    first._subscription.vanish()  # type: ignore[union-attr]

    world.put(3)
    await (await world.router()).step(0)

    assert world.inbox() == ["e1", "e2", "e1", "e2", "e3"]
    assert world.committed() == 3


@pytest.mark.parametrize("cut", [0, 1, 2, 99])
async def test_an_append_that_fails_is_repeated_whole_and_in_order(world: World, cut: int) -> None:
    router = await world.router()
    world.put(1, 2, 3)
    world.log.faults.append_cuts = [cut, 0]

    assert await router.step(0) == 3

    assert world.inbox()[-3:] == ["e1", "e2", "e3"] and len(world.inbox()) == min(cut, 3) + 3
    assert world.committed() == 3
    assert world.count("counterpoint_router_records_total", kind="outcome") == 3


async def test_while_the_log_is_away_readiness_says_so_and_nothing_is_committed(world: World) -> None:
    router = await world.router()
    world.put(1)
    world.log.faults.append_cuts = [0] * 1_000
    step = asyncio.create_task(router.step(0))
    await asyncio.sleep(0.02)

    assert "events wait to be routed" in (world.readiness.problem() or "") and world.committed() is None

    world.log.faults.append_cuts = []
    assert await step == 1
    assert world.readiness.problem() is None and world.inbox() == ["e1"] and world.committed() == 1


async def test_a_log_that_is_away_is_told_by_the_subscription(world: World) -> None:
    await world.router()
    world.log.faults.away = True
    assert world.readiness.problem() == "router: the log is away"


async def test_a_commit_that_fails_is_made_later(world: World) -> None:
    router = await world.router(commit_interval_s=3_600)
    world.put(1)
    await router.step(0)
    world.log.faults.away = True
    await router.commit()
    assert world.committed() is None
    world.log.faults.away = False
    await router.commit()
    assert world.committed() == 1


async def test_two_routers_share_the_places_and_hand_over_in_order(world: World) -> None:
    first = await world.router(commit_interval_s=3_600)
    world.put(1, 2)
    await first.step(0)

    second = await world.router()
    world.put(3)
    await first.step(0)
    await second.step(0)

    assert world.inbox() == ["e1", "e2", "e3"], "what was acknowledged was committed when the places were given up"


async def test_places_lost_while_the_log_is_away_are_left_to_their_next_owner(world: World) -> None:
    first = await world.router()
    world.put(1)
    world.log.faults.append_cuts = [0] * 5
    step = asyncio.create_task(first.step(0))
    await asyncio.sleep(0)
    second_joins = asyncio.create_task(world.router())
    await step
    second = await second_joins
    world.log.faults.append_cuts = []

    await first.step(0)
    await second.step(0)

    assert Counter(world.inbox()) == {"e1": 1}


async def test_stop_ends_a_wait_for_the_log_and_commits_nothing_of_it(world: World) -> None:
    router = await world.router()
    world.put(1)
    await router.step(0)
    world.put(2)
    world.log.faults.append_cuts = [0] * 1_000_000
    run = asyncio.create_task(router.run())
    await asyncio.sleep(0.02)

    router.stop()
    await asyncio.wait_for(run, 1)
    await router.close()

    assert world.committed() == 1
    world.log.faults.append_cuts = []
    await (await world.router()).step(0)
    assert world.inbox() == ["e1", "e2"]


async def test_run_works_until_it_is_stopped_and_commits_at_the_end(world: World) -> None:
    router = await world.router(commit_interval_s=3_600)
    run = asyncio.create_task(router.run())
    world.put(1, 2)
    await asyncio.sleep(0.02)
    assert world.inbox() == ["e1", "e2"] and world.committed() is None

    router.stop()
    await asyncio.wait_for(run, 1)

    assert world.committed() == 2
    assert world.count("counterpoint_router_lag") == 0
    await router.close()


async def test_a_member_that_was_expelled_repeats_nothing_itself(world: World) -> None:
    router = await world.router()
    router._subscription.expelled = True  # type: ignore[union-attr]
    world.put(1)
    assert await router.step(0) == 1
    assert world.committed() is None and world.inbox() == ["e1"]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_every_event_arrives_and_first_arrivals_are_in_order(world: World, seed: int) -> None:
    """Failed and half-stored appends, kills before the commit, newcomers, a log that is away: in any order."""
    chance = random.Random(seed)
    router, number = await world.router(commit_interval_s=3_600), 0
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            number += 1
            world.put(number)
        event = chance.choice(("work", "work", "cut", "kill", "commit", "join", "away"))
        if event == "cut":
            world.log.faults.append_cuts = [chance.randrange(5) for _ in range(chance.randrange(3))]
        elif event in ("kill", "join"):
            if event == "kill":
                router._subscription.vanish()  # type: ignore[union-attr]
            else:
                await router.close()
            router = await world.router(commit_interval_s=3_600)
        elif event == "commit":
            await router.commit()
        elif event == "away":
            world.log.faults.away = True
            await router.step(0)
            await router.commit()
            world.log.faults.away = False
        await router.step(0)
    await router.commit()

    assert list(dict.fromkeys(world.inbox())) == [f"e{n}" for n in range(1, number + 1)]
    assert world.committed() == number
