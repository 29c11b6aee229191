"""A program of the simulated world: the tasks that belong to one OS process, and its line to everything outside.

Killing it is kill -9: its line is cut first, so that no `finally` of it reaches the world, and then all its tasks end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol

from tests.simulation.virtual_loop import NumberedTask

CURRENT: ContextVar[Program | None] = ContextVar("program", default=None)


class Network(Protocol):
    """What a line needs of the world: how long a crossing takes, and to hear of it (faults strike there)."""

    def crossing(self, program: Program, what: str) -> float:
        """Seconds until it is across. Called for every crossing, requests and answers."""


class Program:
    """`name` is for traces. Tasks born by its tasks are its own (see `adopt`)."""

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.alive = True
        self._network = network
        self.at = ""
        """The last crossing of the network that it began."""
        self._tasks: dict[NumberedTask, None] = {}
        self._frozen: asyncio.Event | None = None
        self.on_kill: list[Callable[[], None]] = []
        """What the world does when it dies: the members of its groups vanish."""
        self.failure: BaseException | None = None

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        context = copy_context()
        context.run(CURRENT.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def run(self, call: Callable[[], None]) -> None:
        """A callback in this program: what it starts is its own."""
        context = copy_context()
        context.run(CURRENT.set, self)
        context.run(call)

    def main(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Like `spawn`; what it raises is a bug of the product's, and kept for the judge."""

        async def watched() -> None:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - kept, and raised by the world
                self.failure = error

        self.spawn(watched())

    async def cross(self, what: str) -> None:
        """One way over the network. Raises CancelledError once the program is dead."""
        self.at = what
        delay_s = self._network.crossing(self, what)
        await asyncio.sleep(delay_s)
        while self._frozen is not None and self.alive:
            await self._frozen.wait()
        if not self.alive:
            raise asyncio.CancelledError

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self.alive:
            raise asyncio.CancelledError

    def freeze(self) -> None:
        """A long pause of the OS process (SIGSTOP, garbage collection): it goes on later as if nothing had been."""
        if self._frozen is None:
            self._frozen = asyncio.Event()

    def thaw(self) -> None:
        if self._frozen is not None:
            self._frozen.set()
            self._frozen = None

    @property
    def frozen(self) -> bool:
        return self._frozen is not None

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        for vanish in self.on_kill:
            vanish()
        for task in list(self._tasks):
            task.cancel()
        self.thaw()

    def keep(self, task: NumberedTask) -> None:
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        assert isinstance(task, NumberedTask)
        self._tasks.pop(task, None)


def adopt(task: NumberedTask, context: Context | None) -> None:
    """Every task belongs to the program whose task made it."""
    owner = CURRENT.get() if context is None else context.get(CURRENT)
    if owner is not None:
        owner.keep(task)
        if not owner.alive:
            task.cancel()
