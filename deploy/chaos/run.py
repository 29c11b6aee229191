"""A whole chaos run: faults one after the other, on one stack as long as everything reconciles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from deploy.chaos.episode import Episode, Plan, told_of
from deploy.chaos.report import Row
from deploy.chaos.scene import Scene
from deploy.chaos.schedule import Turn
from deploy.demo.orders import PlannedOrder
from deploy.local.errors import StackError
from deploy.local.progress import Report as Progress
from deploy.local.stack import Stack

ORDERS_LEFT_MIN = 5_000
"""With fewer unused baskets left, the next fault gets a stack of its own."""
ORDERS_PLACED_MAX = 12_000
"""With so many orders on it, a stack has served long enough: its disk grows with them, and so does what is compared
after every fault."""
SCENES_FAILED_MAX = 3
"""So many stacks in a row that do not come up are not the faults' doing: the run ends."""
SCENES_MAX = 1_000
"""Of one round; their seeds do not meet those of the next round."""


class Chaos:
    """Use as `async with`. `say` hears of what takes long."""

    def __init__(self, data: Path, plan: Plan, say: Callable[[str], None], progress: Progress) -> None:
        self._data = data
        self._plan = plan
        self._say = say
        self._progress = progress
        self._scene: Scene | None = None
        self._placed: dict[str, PlannedOrder] = {}
        self._round = 0
        self._scenes = 0
        self._failed_scenes = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Chaos:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def rows(self, turns: Iterable[Turn]) -> AsyncIterator[Row]:
        """Inject faults as they come, and tell how each went. Whatever goes wrong with one, the next has a stack of its
        own. Raises StackError if stack after stack does not come up."""
        for turn in turns:
            yield replace(await self._row(turn), round=turn.round, seed=turn.seed)

    async def _row(self, turn: Turn) -> Row:
        fault = turn.fault
        missing = await asyncio.to_thread(fault.missing)
        if missing is not None:
            return Row(fault.name, fault.family, fault.title, "not run", (f"not run: {missing}",))
        try:
            scene = await self._ready_scene(turn)
        except Exception as error:
            self._failed_scenes += 1
            if self._failed_scenes >= SCENES_FAILED_MAX:
                raise
            await self._drop_scene()
            problems = ("There was no stack for it.", *told_of(error))
            return Row(fault.name, fault.family, fault.title, "failed", problems=problems)
        self._failed_scenes = 0
        self._say(f"{fault.name}: {fault.title}")
        row = await Episode(scene, fault, self._plan, self._placed).run()
        if row.status == "failed" or fault.spoils:
            await self._drop_scene()
        return row

    async def _ready_scene(self, turn: Turn) -> Scene:
        worn = self._scene is not None and (
            self._scene.book.left < ORDERS_LEFT_MIN or len(self._placed) > ORDERS_PLACED_MAX
        )
        if worn or turn.round != self._round:
            await self._drop_scene()
        if turn.round != self._round:
            self._round, self._scenes = turn.round, 0
        if self._scene is None:
            self._say(f"a new stack, round {turn.round}, seed {turn.seed}")
            self._placed = {}
            self._scenes += 1
            seed = turn.seed * SCENES_MAX + self._scenes
            stack = Stack(self._data, report=self._progress)
            self._scene = await self._stack.enter_async_context(Scene(stack, seed))
        return self._scene

    async def _drop_scene(self) -> None:
        """The next one begins by ending what this one could not end."""
        self._scene = None
        stack, self._stack = self._stack, AsyncExitStack()
        try:
            await stack.aclose()
        except (StackError, OSError) as error:
            self._say(f"the stack did not end well: {error}")
