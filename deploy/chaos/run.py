"""A whole chaos run: faults one after the other, on one stack as long as everything reconciles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from deploy.chaos.episode import Episode, Plan
from deploy.chaos.fault import Fault
from deploy.chaos.report import Row
from deploy.chaos.scene import Scene
from deploy.demo.orders import PlannedOrder
from deploy.local.progress import Report as Progress
from deploy.local.stack import Stack

ORDERS_LEFT_MIN = 5_000
"""With fewer unused baskets left, the next fault gets a stack of its own."""


class Chaos:
    """Use as `async with`. `say` hears of what takes long."""

    def __init__(self, data: Path, seed: int, plan: Plan, say: Callable[[str], None], progress: Progress) -> None:
        self._data = data
        self._seed = seed
        self._plan = plan
        self._say = say
        self._progress = progress
        self._scene: Scene | None = None
        self._placed: dict[str, PlannedOrder] = {}
        self._scenes = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Chaos:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def rows(self, faults: Iterable[Fault]) -> AsyncIterator[Row]:
        """Inject faults as they come, and tell how each went. Raises StackError if no stack can be had at all."""
        for fault in faults:
            missing = await asyncio.to_thread(fault.missing)
            if missing is not None:
                yield Row(fault.name, fault.family, fault.title, "not run", (f"not run: {missing}",))
                continue
            scene = await self._ready_scene()
            self._say(f"{fault.name}: {fault.title}")
            row = await Episode(scene, fault, self._plan, self._placed).run()
            if row.status == "failed" or fault.spoils:
                await self._drop_scene()
            yield row

    async def _ready_scene(self) -> Scene:
        if self._scene is not None and self._scene.book.left < ORDERS_LEFT_MIN:
            await self._drop_scene()
        if self._scene is None:
            self._say("a new stack")
            self._placed = {}
            self._scenes += 1
            seed = self._seed + self._scenes
            self._scene = await self._stack.enter_async_context(Scene(Stack(self._data, report=self._progress), seed))
        return self._scene

    async def _drop_scene(self) -> None:
        self._scene = None
        await self._stack.aclose()
        self._stack = AsyncExitStack()
