"""What the SDK promises of a message in back-off, of versions side by side, and of schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from contracts.catalog import Catalog, standard_catalog
from contracts.ids import partition_of
from contracts.message import Command, Event, Identifier
from contracts.schedules import ScheduleTick
from contracts.topics import DOMAIN_PARTITIONS
from services.registry import entry_of
from services.sdk import Delivery, NotDone, RegistrationError, Retry, Service
from services.sdk.runner import GROUP_PREFIX
from services.sdk.start import needed_topics
from services.sdk.testing import Clock, Harness
from services.sdk.wiring import Limits
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged, Refused

DUE_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Notes:
    handled: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)


def failing_service(attempts: int = 20) -> Service:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    @service.handles(Ping, retry=Retry(attempts=attempts, first=1, factor=1, jitter=0), unfinished="repeat")
    async def ping(command: Ping, notes: Notes) -> Pinged:
        notes.handled.append(f"{command.name}:{command.text}")
        if command.name in notes.failing:
            raise NotDone("away", "not now", retryable=True)
        return Pinged(name=command.name)

    return service


def same_partition(first: str, count: int) -> list[str]:
    """`count` other names whose records are in the partition of `first`."""
    names = (f"n{number}" for number in range(10_000))
    place = partition_of(first, DOMAIN_PARTITIONS)
    return [name for name in names if partition_of(name, DOMAIN_PARTITIONS) == place and name != first][:count]


@pytest.fixture
def held_pauses(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Every pause of the SDK lasts until this is set."""
    over = asyncio.Event()

    async def sleep(clock: Clock, seconds: float) -> None:
        clock.slept_s.append(seconds)
        await over.wait()

    monkeypatch.setattr(Clock, "sleep", sleep)
    return over


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions have no event of their own
            await asyncio.sleep(0.001)


async def test_a_message_in_back_off_blocks_its_own_key_and_no_other_of_its_partition(
    held_pauses: asyncio.Event,
) -> None:
    notes = Notes(failing={"bad"})
    others = same_partition("bad", 50)
    async with Harness(failing_service(), [notes]) as harness:
        delivered = [
            asyncio.create_task(harness.deliver(Ping(name=name, text=text)))
            for name, text in (("bad", "1"), ("bad", "2"), *((name, "1") for name in others))
        ]
        await until(lambda: len(harness.bus.read("sample.events")) == len(others))
        assert notes.handled == ["bad:1", *(f"{name}:1" for name in others)]
        committed = harness.bus.committed(f"{GROUP_PREFIX}sample")
        # They are done, and not committed: a crash now would read them again, and the inbox would answer.
        assert not [offset for place, offset in committed.items() if place.topic == "sample.commands" and offset]
        notes.failing.clear()
        held_pauses.set()
        await asyncio.gather(*delivered)
        assert notes.handled[-2:] == ["bad:1", "bad:2"]


async def test_as_many_keys_in_back_off_as_run_at_once_hold_up_the_service(held_pauses: asyncio.Event) -> None:
    """The bound: `concurrency` keys, 256 unless set."""
    notes = Notes(failing={f"bad{number}" for number in range(4)})
    limits = Limits(concurrency=4, held_max=8, poll_s=0.005, commit_s=0.005)
    async with Harness(failing_service(), [notes], limits) as harness:
        delivered = [asyncio.create_task(harness.deliver(Ping(name=name))) for name in sorted(notes.failing)]
        await until(lambda: len(notes.handled) == 4)
        delivered.append(asyncio.create_task(harness.deliver(Ping(name="good"))))
        await asyncio.sleep(0.05)
        assert "good:" not in notes.handled
        notes.failing.clear()
        held_pauses.set()
        await asyncio.gather(*delivered)
        assert "good:" in notes.handled


class PingTwo(Command, type="sample.ping.v2", succeeds=Pinged, refuses=Refused):
    """The same wish in its second version, which names a place."""

    name: Identifier
    place: Identifier


async def test_two_versions_of_a_message_are_handled_side_by_side() -> None:
    service = Service("sample", contexts=("sample",), catalog=CATALOG.including([PingTwo]))

    @service.handles(Ping)
    async def ping(command: Ping, notes: Notes) -> Pinged:
        notes.handled.append(f"v1 {command.name}")
        return Pinged(name=command.name)

    @service.handles(PingTwo)
    async def ping_two(command: PingTwo, notes: Notes) -> Pinged:
        notes.handled.append(f"v2 {command.name} at {command.place}")
        return Pinged(name=command.name, count=2)

    notes = Notes()
    async with Harness(service, [notes]) as harness:
        (one,) = await harness.deliver(Ping(name="a"), id="x1")
        (two,) = await harness.deliver(PingTwo(name="a", place="here"), id="x2")
        assert (one.message, two.message) == (Pinged(name="a"), Pinged(name="a", count=2))
        # The id of one version with the other's payload is another message with the same id.
        (letter,) = await harness.deliver(PingTwo(name="a", place="there"), id="x1")
        assert dict(letter.record.headers)["dl_reason"] == b"id-conflict"
    assert notes.handled == ["v1 a", "v2 a at here"]
    assert PingTwo.topic == Ping.topic
    assert service.commands == ("sample.ping.v1", "sample.ping.v2")


class Woken(Event, type="sample.woken.v1"):
    name: Identifier


def scheduled() -> Service:
    service = Service("sample", catalog=Catalog([*CATALOG, *standard_catalog(), Woken]))

    @service.on_schedule("nightly")
    async def nightly(tick: ScheduleTick, notes: Notes) -> Heard:
        notes.handled.append(f"nightly {tick.due_at:%H:%M}")
        return Heard(name=tick.schedule_id)

    @service.on_schedule("hourly")
    async def hourly(tick: ScheduleTick, delivery: Delivery, notes: Notes) -> Woken | None:
        notes.handled.append(f"hourly {delivery.attempt}")
        return Woken(name=tick.schedule_id)

    return service


async def test_a_handler_of_a_schedule_takes_its_ticks_alone() -> None:
    notes = Notes()
    async with Harness(scheduled(), [notes]) as harness:
        (heard,) = await harness.deliver(ScheduleTick(schedule_id="nightly", due_at=DUE_AT))
        (woken,) = await harness.deliver(ScheduleTick(schedule_id="hourly", due_at=DUE_AT))
        assert await harness.deliver(ScheduleTick(schedule_id="other", due_at=DUE_AT)) == []
        assert (heard.message, woken.message) == (Heard(name="nightly"), Woken(name="hourly"))
        assert harness.metric("skipped_total", why="not-handled") == 1
    assert notes.handled == ["nightly 00:00", "hourly 1"]


def test_what_handlers_of_schedules_need_and_publish_is_known_before_the_first_tick() -> None:
    service = scheduled()
    assert service.topics == ("sample.replays", "schedules.events")
    assert set(needed_topics(service)) == {"sample.dead-letters", "sample.events", "sample.replays", "schedules.events"}
    entry = entry_of(service)
    assert entry["handles"] == ["schedules.tick.v1"]
    assert entry["publishes"] == ["sample.heard.v1", "sample.woken.v1"]


def test_mistakes_with_schedules_are_found_at_registration() -> None:
    async def tick(tick: ScheduleTick) -> None: ...

    async def wrong(event: Noticed) -> None: ...

    service = scheduled()
    with pytest.raises(RegistrationError, match="nightly already handles the schedule 'nightly'"):
        service.on_schedule("nightly")(tick)
    with pytest.raises(RegistrationError, match="must be those of nightly"):
        service.on_schedule("weekly", timeout_s=1)(tick)
    with pytest.raises(RegistrationError, match="first parameter must be annotated with ScheduleTick"):
        service.on_schedule("weekly")(wrong)
    with pytest.raises(RegistrationError, match="already handles"):
        service.handles(ScheduleTick)(tick)
    plain = Service("sample")
    plain.handles(ScheduleTick)(tick)
    with pytest.raises(RegistrationError, match="ticks of all schedules"):
        plain.on_schedule("nightly")(tick)
