"""Replicas in memory: one announces, another takes over; whatever fails, no due time is lost or said under two ids."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from services.scheduler.schedule import Misfire, Schedule
from services.scheduler.scheduler import LEASE_S, MARGIN_S, RENEW_S, STOP_S
from services.scheduler.store import Run, Told
from services.scheduler.timing import Once, checked_cron
from tests.scheduler.world import START_MS, Replica, World

MINUTE_MS = 60_000


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.end()


def minutely(name: str = "s", misfire: Misfire = Misfire.CATCH_UP, expression: str = "* * * * *") -> Schedule:
    return Schedule(name, checked_cron(expression, "UTC"), misfire)


def every(count: int, first: int = 1, pause_ms: int = MINUTE_MS) -> list[int]:
    return [START_MS + number * pause_ms for number in range(first, first + count)]


async def test_one_of_two_replicas_announces_each_due_time_once(world: World) -> None:
    world.start(minutely())
    world.start(minutely())
    await world.settle()
    for _ in range(10):
        await world.advance(30)
        assert len(world.leaders()) == 1
    assert world.log.ticks() == every(5)


async def test_it_is_on_time(world: World) -> None:
    world.start(minutely())
    await world.advance(59.5)
    assert world.log.ticks() == []
    await world.advance(0.5)
    assert world.log.ticks() == every(1)


async def test_another_takes_over_when_the_leader_is_killed(world: World) -> None:
    first = world.start(minutely())
    second = world.start(minutely())
    await world.advance(61)
    assert world.leaders() == [first]
    await first.kill()
    await world.advance(LEASE_S - 2)
    assert world.leaders() == []
    await world.advance(4)
    assert world.leaders() == [second]
    await world.advance(120)
    assert world.log.ticks() == every(3)


async def test_a_stopped_leader_gives_its_lease_up(world: World) -> None:
    first = world.start(minutely())
    await world.settle()
    world.start(minutely())
    first.scheduler.stop()
    await world.advance(2)
    assert first.task.done() and len(world.leaders()) == 1
    await world.advance(60)
    assert world.log.ticks() == every(1)


async def test_a_crash_between_announcing_and_noting_repeats_the_same_message(world: World) -> None:
    first = world.start(minutely())
    await world.settle()
    first.line.crash_at_settle = True
    await world.advance(60)
    await first.kill()
    world.start(minutely())
    await world.advance(60)
    assert world.log.ticks() == [START_MS + MINUTE_MS, *every(2)]
    assert world.log.records[0] == world.log.records[1]
    assert list(world.log.repeats().values()) == [2]


async def test_a_lost_answer_of_the_store_repeats_nothing(world: World) -> None:
    first = world.start(minutely())
    await world.settle()
    first.line.reply_lost = True
    await world.advance(130)
    assert world.log.ticks() == every(2)
    assert not first.line.reply_lost


async def test_a_store_that_goes_away_after_the_announcement_is_told_later(world: World) -> None:
    """Longer than the lease lasts: who announced remembers it, and nobody else could take over meanwhile."""
    first = world.start(minutely(misfire=Misfire.SKIP))
    await world.advance(58)
    world.log.back.clear()
    await world.advance(2)
    first.line.away = True
    world.log.back.set()
    await world.settle()
    assert world.log.ticks() == every(1)
    await world.advance(40)
    first.line.away = False
    await world.advance(90)
    assert world.log.ticks() == every(3)


async def test_a_store_that_is_away_stops_the_announcements_and_none_is_lost(world: World) -> None:
    first = world.start(minutely())
    await world.settle()
    first.line.away = True
    await world.advance(300)
    assert world.log.ticks() == []
    assert "waiting for the store" in str(first.scheduler.problem)
    first.line.away = False
    await world.advance(10)
    assert world.log.ticks() == every(5)
    assert first.scheduler.problem is None


async def test_kafka_away_is_waited_out_under_the_lease(world: World) -> None:
    first = world.start(minutely())
    world.start(minutely())
    await world.settle()
    world.log.back.clear()
    await world.advance(200)
    assert world.leaders() == [first]
    world.log.back.set()
    await world.advance(1)
    assert world.log.ticks() == every(3)
    assert world.log.repeats() == {}


async def test_a_leader_that_is_cut_off_sends_nothing_after_another_may_have_taken_over(world: World) -> None:
    """Cut off from Kafka and Redis while it announces; when Kafka takes records again, only the new leader's count."""
    first = world.start(minutely())
    await world.settle()
    second = world.start(minutely())
    world.log.back.clear()
    await world.advance(60)
    first.line.away = True
    await world.advance(LEASE_S - MARGIN_S + 1)
    assert not first.scheduler.leads, "it stops before its lease can be another's"
    assert not second.scheduler.leads
    await world.advance(MARGIN_S + 2)
    assert second.scheduler.leads
    world.log.back.set()
    await world.advance(60)
    assert world.log.ticks() == every(2)
    assert world.log.repeats() == {}


async def test_a_stop_does_not_wait_for_kafka_for_ever(world: World) -> None:
    first = world.start(minutely())
    await world.settle()
    world.log.back.clear()
    await world.advance(60)
    first.scheduler.stop()
    await world.advance(STOP_S - 1)
    assert not first.task.done()
    await world.advance(1 + 3 * RENEW_S)
    assert first.task.done()
    world.log.back.set()
    world.start(minutely())
    await world.advance(5)
    assert world.log.ticks()[0] == START_MS + MINUTE_MS
    assert world.log.repeats() == {}


async def test_a_wall_clock_that_goes_back_announces_nothing_again(world: World) -> None:
    world.start(minutely())
    await world.advance(121)
    world.wall_ms -= 10 * MINUTE_MS
    await world.advance(600)
    assert world.log.ticks() == every(2)
    await world.advance(60)
    assert world.log.ticks() == every(3)


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [(Misfire.CATCH_UP, every(61)), (Misfire.ONCE, every(3, 59)), (Misfire.SKIP, every(2, 60))],
)
async def test_a_wall_clock_that_leaps_forward_is_a_misfire(
    world: World, misfire: Misfire, expected: list[int]
) -> None:
    world.start(minutely(misfire=misfire))
    await world.settle()
    world.wall_ms += 61 * MINUTE_MS - 1_000
    await world.advance(1)
    assert world.log.ticks() == expected


async def test_a_schedule_beyond_the_clock_waits_until_a_person_brings_it_back(world: World) -> None:
    replica = world.start(minutely())
    await world.settle()
    world.wall_ms += 365 * 24 * 60 * MINUTE_MS
    await world.advance(1)
    world.wall_ms -= 365 * 24 * 60 * MINUTE_MS
    seen = len(world.log.records)
    await world.advance(120)
    assert len(world.log.records) == seen
    assert await world.store.resume("s", world.wall_ms, "resume by ada") is Told.DONE
    await world.advance(60)
    assert world.log.ticks()[seen:] == [START_MS + 3 * MINUTE_MS]
    assert replica.scheduler.problem is None


async def test_pause_and_resume(world: World) -> None:
    world.start(minutely(), minutely("other"))
    await world.advance(61)
    assert await world.store.pause("s", "pause by ada") is Told.DONE
    await world.advance(120)
    assert await world.store.resume("s", world.wall_ms, "resume by ada") is Told.DONE
    await world.advance(60)
    assert world.log.ticks() == [*every(1), *every(1, 4)]
    assert world.log.ticks("other") == every(4)


async def test_a_run_now_comes_once_and_moves_nothing(world: World) -> None:
    first = world.start(minutely())
    await world.advance(30)
    assert await world.store.pause("s", "pause by ada") is Told.DONE
    assert await world.store.ask(Run("s", "r1", world.wall_ms), "run-now by ada") is Told.DONE
    await world.advance(1)
    assert world.log.ticks() == [START_MS + 30_000]
    assert await world.store.runs() == []
    await world.store.resume("s", world.wall_ms, "resume by ada")
    await first.kill()
    world.start(minutely())
    await world.advance(60)
    assert world.log.ticks() == [START_MS + 30_000, *every(1)]


async def test_a_crash_repeats_a_run_under_its_own_id(world: World) -> None:
    first = world.start(minutely())
    await world.settle()
    await world.store.ask(Run("s", "r1", world.wall_ms), "run-now by ada")
    world.log.back.clear()
    await world.advance(1)
    await first.kill()
    world.start(minutely())
    await world.advance(20)
    world.log.back.set()
    await world.advance(1)
    # What the killed one had on its way may come as well: it is the same message.
    assert set(world.log.ticks()) == {START_MS}
    assert len(world.log.repeats()) <= 1


async def test_an_edited_file_does_not_announce_the_past(world: World) -> None:
    first = world.start(minutely())
    await world.advance(61)
    await first.kill()
    await world.advance(600)
    world.start(minutely(expression="*/2 * * * *"))
    await world.advance(120)
    assert world.log.ticks() == [*every(1), START_MS + 12 * MINUTE_MS]


async def test_one_moment_that_is_past_when_it_is_first_seen_does_not_come(world: World) -> None:
    world.start(Schedule("s", Once(START_MS - 1_000)), Schedule("t", Once(START_MS + 5_000)))
    await world.advance(60)
    assert (world.log.ticks("s"), world.log.ticks("t")) == ([], [START_MS + 5_000])


async def test_many_due_at_once_are_all_announced(world: World) -> None:
    names = [f"s{number}" for number in range(50)]
    first = world.start(*(minutely(name) for name in names))
    await world.settle()
    first.line.away = True
    await world.advance(3_600, step_s=5)
    first.line.away = False
    await world.advance(30)
    assert all(world.log.ticks(name) == every(60) for name in names)


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_no_due_time_is_lost_and_order_holds(world: World, seed: int) -> None:
    """Kills, cuts and outages at random. A repeat is the same message, and needs a crash or a cut."""
    dice = random.Random(seed)
    alive: list[Replica] = [world.start(minutely(expression="*/20 * * * * *")) for _ in range(2)]
    await world.settle()
    for _ in range(60):
        match dice.randrange(8):
            case 0:
                await alive.pop(dice.randrange(len(alive))).kill()
                alive.append(world.start(minutely(expression="*/20 * * * * *")))
            case 1:
                dice.choice(alive).line.away ^= True
            case 2:
                world.log.back.clear()
            case 3:
                world.log.back.set()
            case 4:
                dice.choice(alive).line.reply_lost = True
            case _:
                pass
        await world.advance(dice.choice((1, 5, 20, 40)))
        assert len(world.leaders()) <= 1
    world.log.back.set()
    for replica in alive:
        replica.line.away = False
    await world.advance(60)
    heard = world.log.ticks()
    expected = every((world.wall_ms - START_MS) // 20_000, pause_ms=20_000)
    assert sorted(set(heard)) == expected
    assert len({record.value for record in world.log.records}) == len(expected)
