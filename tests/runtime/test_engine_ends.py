"""An engine one of whose parts fails ends, whatever its other parts make of being cancelled."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.runtime.engine_loop import end_all
from orchestrator.runtime.store import StoreUnavailable
from tests.runtime.fake_engine import fake_input
from tests.runtime.world import World


async def test_a_task_that_loses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.runtime.engine_loop.CANCEL_AGAIN_S", 0.001)
    lost = 0

    async def loses() -> None:
        """As redis-py does while it connects: the cancellation becomes an error, and the loop waits it out."""
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                if lost == 3:
                    raise
                lost += 1

    task = asyncio.create_task(loses())
    await asyncio.sleep(0)
    await end_all((task,))
    assert task.cancelled()
    assert lost == 3


async def test_an_engine_whose_store_breaks_its_promise_ends_with_that_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its claims lose their cancellation."""
    monkeypatch.setattr("orchestrator.runtime.engine_loop.CANCEL_AGAIN_S", 0.001)
    world = World()
    engine = await world.engine()
    await engine.work()
    lost = 0

    async def claim() -> None:
        nonlocal lost
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            lost += 1
            raise StoreUnavailable("cancelled while it connects") from None

    async def breaks(wanted: object) -> None:
        raise RuntimeError("not what the port promises")

    monkeypatch.setattr(engine.loop, "claim", claim)
    monkeypatch.setattr(world.store, "load", breaks)
    world.put(fake_input("fake:one", "s0", "fake.start.v1"))
    with pytest.raises(RuntimeError, match="not what the port promises"):
        await asyncio.wait_for(engine.loop.run(), 30)
    assert lost == 1


async def test_a_flush_that_is_cancelled_lets_nobody_in_before_its_writes_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A write that takes no notice of being cancelled is still under way: a second one beside it would be wrong."""
    world = World()
    engine = await world.engine()
    world.put(fake_input("fake:one", "s0", "fake.start.v1"))
    await engine.work(flush=False)
    write, begun, go_on = world.store.write, asyncio.Event(), asyncio.Event()

    async def stubborn(checkpoints: object) -> object:
        begun.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return await write(checkpoints)  # type: ignore[arg-type]

    subscription = engine.loop.ownership.subscription
    commit, commits = subscription.commit, 0

    async def slow(offsets: object) -> bool:
        """A commit that is cancelled ends at once, and so would the flush."""
        nonlocal commits
        commits += 1
        if commits == 1:
            await asyncio.sleep(3_600)
        return await commit(offsets)  # type: ignore[arg-type]

    monkeypatch.setattr(subscription, "commit", slow)
    monkeypatch.setattr(world.store, "write", stubborn)
    first = asyncio.create_task(engine.loop.flush())
    await begun.wait()
    first.cancel()
    second = asyncio.create_task(engine.loop.flush())
    for _ in range(5):
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, return_exceptions=True)
    assert await second
