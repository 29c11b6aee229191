"""Order per key, concurrency over keys, and commits of the contiguous prefix only."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from services.sdk.lanes import Lanes
from services.sdk.prefix import Prefix


@given(st.lists(st.integers(0, 400), unique=True).map(sorted), st.integers(0, 10**6))
def test_the_prefix_never_passes_what_is_not_done(offsets: list[int], seed: int) -> None:
    """Whatever the gaps and the order of completion: the lowest received and not done, else one past the last."""
    dice = random.Random(seed)
    prefix = Prefix(start=0)
    received: list[int] = []
    done: set[int] = set()
    waiting = list(offsets)
    while waiting or len(done) < len(received):
        open_ones = [offset for offset in received if offset not in done]
        if waiting and (not open_ones or dice.random() < 0.5):
            received.append(waiting.pop(0))
            assert prefix.receive(received[-1])
        else:
            offset = dice.choice(open_ones)
            prefix.done(offset)
            done.add(offset)
        still_open = [offset for offset in received if offset not in done]
        expected = min(still_open) if still_open else (received[-1] + 1 if received else 0)
        assert prefix.next == expected
        assert prefix.open == len(still_open)


def test_an_offset_is_received_once() -> None:
    prefix = Prefix(start=5)
    assert not prefix.receive(4)
    assert prefix.receive(5)
    assert not prefix.receive(5)
    prefix.done(5)
    prefix.done(5)
    assert prefix.next == 6


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 6), st.integers(0, 10**6))
def test_one_key_stays_in_order_and_the_limit_holds(keys: list[int], limit: int, seed: int) -> None:
    dice = random.Random(seed)

    async def scenario() -> None:
        running: set[int] = set()
        finished: list[tuple[int, int]] = []

        async def handle(item: tuple[int, int]) -> None:
            key, _ = item
            assert key not in running, "two of one key at once"
            running.add(key)
            assert len(running) <= limit
            for _ in range(dice.randint(0, 4)):
                await asyncio.sleep(0)
            running.discard(key)
            finished.append(item)

        lanes: Lanes[tuple[int, int]] = Lanes(handle, limit, held_max=1_000)
        for number, key in enumerate(keys):
            lanes.offer(key, (key, number))
        assert await lanes.drained(10)
        assert sorted(finished) == sorted((key, number) for number, key in enumerate(keys))
        for key in set(keys):
            numbers = [number for finished_key, number in finished if finished_key == key]
            assert numbers == sorted(numbers)
        assert lanes.held == 0

    asyncio.run(scenario())


async def test_different_keys_run_side_by_side_up_to_the_limit() -> None:
    running = 0
    highest = 0
    release = asyncio.Event()

    async def handle(_: int) -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await release.wait()
        running -= 1

    lanes: Lanes[int] = Lanes(handle, limit=3, held_max=4)
    for key in range(10):
        lanes.offer(key, key)
    await asyncio.sleep(0.01)
    assert (running, lanes.held, lanes.full) == (3, 10, True)
    release.set()
    assert await lanes.drained(5)
    assert highest == 3


async def test_what_is_offered_while_a_server_is_leaving_is_served() -> None:
    """Planted: a server that has returned and is not yet counted out must not be waited for."""
    handled: list[str] = []

    async def handle(item: str) -> None:
        handled.append(item)
        if item == "first":
            asyncio.get_running_loop().call_soon(lanes.offer, "b", "second")

    lanes: Lanes[str] = Lanes(handle, limit=1, held_max=4)
    lanes.offer("a", "first")
    await asyncio.sleep(0.02)
    assert handled == ["first", "second"]


async def test_what_is_abandoned_does_not_finish() -> None:
    lanes: Lanes[int] = Lanes(lambda _: asyncio.Event().wait(), limit=2, held_max=4)  # type: ignore[arg-type, return-value]
    lanes.offer("a", 1)
    lanes.offer("b", 1)
    lanes.offer("c", 1)
    assert not await lanes.drained(0.01)
    await lanes.abandon()
    assert lanes.held == 0
    assert await lanes.drained(1)
