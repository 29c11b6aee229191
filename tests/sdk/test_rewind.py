"""What a service does after its store went back in time: when it is asked, when not, and what becomes of a mistake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from contracts.envelope import Envelope, encode_headers
from contracts.record import OutgoingRecord
from services.sdk import RegistrationError, Service
from services.sdk.testing import CrashPoint, Harness
from tests.sdk.sample import Heard, Ping, World, make_service


def telling_service() -> Service:
    service = make_service()

    @service.after_rewind
    async def tell(world: World) -> AsyncIterator[tuple[Heard, ...]]:
        yield tuple(Heard(name=f"again-{number}") for number in range(2))
        yield (Heard(name=f"effects-{len(world.effects)}"),)

    return service


def heard(harness: Harness) -> list[str]:
    parsed = [harness._parsed(record) for record in harness.bus.published]
    return [one.message.name for one in parsed if isinstance(one.message, Heard)]


async def lose_one(harness: Harness) -> None:
    """`p/a/2` is done, announced and forgotten."""
    await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
    snapshot = harness.inbox.snapshot()
    await harness.deliver(Ping(name="a"), id="p/a/2", process_id="p")
    harness.inbox.restore(snapshot)


async def test_a_rewind_under_a_running_service_is_told_once_and_before_the_replay() -> None:
    async with Harness(telling_service(), [World()]) as harness:
        await lose_one(harness)
        published = await harness.deliver(Ping(name="a"), id="p/a/3", process_id="p")

        assert heard(harness) == ["again-0", "again-1", "effects-2"]
        assert [type(one.message).__name__ for one in published][:3] == ["Heard"] * 3
        assert len({one.envelope.id for one in published}) == len(published)
        await harness.deliver(Ping(name="a"), id="p/a/4", process_id="p")
        assert len(heard(harness)) == 3


async def test_a_rewind_while_the_service_was_away_is_told_at_its_start() -> None:
    async with Harness(telling_service(), [World()]) as harness:
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        snapshot = harness.inbox.snapshot()
        await harness.deliver(Ping(name="a"), id="p/a/2", process_id="p")
        await harness.kill()
        harness.inbox.restore(snapshot)
        await harness.restart()

        assert heard(harness) == ["again-0", "again-1", "effects-2"]


@pytest.mark.parametrize("point", list(CrashPoint))
async def test_a_crash_is_no_rewind(point: CrashPoint) -> None:
    async with Harness(telling_service(), [World()]) as harness:
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        harness.crash_at = point
        await harness.deliver(Ping(name="a"), id="p/a/2", process_id="p")
        await harness.restart()

        assert heard(harness) == []


async def test_the_group_is_never_ahead_of_the_store_also_where_records_are_skipped() -> None:
    """A skipped record moves the position without an exchange: a kill between the two would look like a rewind."""
    harness = Harness(telling_service(), [World()])
    written: list[bool] = []
    original = harness.inbox.positions

    async with harness:
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        for number in range(20):
            harness.bus.append(skipped(number), harness.clock.now_ms)
            for _ in range(5):
                await asyncio.sleep(0.001)
                stored, committed = await original(), harness.bus.committed("counterpoint.sample")
                written.append(all(stored.get(place, 0) >= offset for place, offset in committed.items()))
        await harness.settled()

    assert all(written)


def skipped(number: int) -> OutgoingRecord:
    """An event that this service does not know."""
    envelope = Envelope(id=f"e{number}", source="/test", type="sample.pinged.v1")
    return OutgoingRecord("sample.events", b"a", b'{"name":"a"}', encode_headers(envelope))


async def plain(world: World) -> tuple[Heard, ...]:
    return ()


async def untyped(world) -> AsyncIterator[tuple[Heard, ...]]:  # type: ignore[no-untyped-def]  # that is the mistake
    yield ()


@pytest.mark.parametrize(("function", "why"), [(plain, "yields pages"), (untyped, "annotate each with a class")])
def test_a_function_that_does_not_fit_is_refused(function: Callable[..., Any], why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        make_service().after_rewind(function)


def test_a_second_one_and_a_missing_resource_are_refused() -> None:
    service = telling_service()
    with pytest.raises(RegistrationError, match="tell already runs after a rewind"):
        service.after_rewind(telling_service)
    with pytest.raises(RegistrationError, match="World is missing"):
        assert service.when_rewound is not None
        service.when_rewound.bound(())
