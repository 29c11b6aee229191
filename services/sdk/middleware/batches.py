"""Batches: messages that have each come through the middleware on their own are handled by one call.

Around it nothing changes. Each message has its own mark, deadline, retries, outcomes and dead letter; two of one key
are never in one batch, since the second begins after the first has ended. A batch that fails is done again one by one,
so that a poisoned message fails alone; but not if its effects are in doubt and the handler may not be repeated.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from msgspec.structs import replace

from contracts.message import Message
from services.sdk.batch import FAILED, Batching, Deliveries
from services.sdk.delivery import Delivery
from services.sdk.failures import NotDone, Unknown
from services.sdk.handler import Handler
from services.sdk.injection import Arguments
from services.sdk.time_limit import TimeLimits


class BrokenBatchError(Exception):
    """A batch's handler returned something that is not one outcome for each message."""


class _Waiting(NamedTuple):
    message: Message
    delivery: Delivery
    outcome: asyncio.Future[Any]


class Batcher:
    """Of one handler in one tenure."""

    def __init__(self, handler: Handler, batching: Batching, arguments: Arguments) -> None:
        self._handler = handler
        self._batching = batching
        self._arguments = arguments
        self._limits = TimeLimits()
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def handled(self, message: Message, delivery: Delivery) -> Any:
        """What the handler returned for this message. Raises what it raised for it."""
        loop = asyncio.get_running_loop()
        one = _Waiting(message, delivery, loop.create_future())
        self._waiting.append(one)
        if len(self._waiting) >= self._batching.max_records:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_later(self._batching.max_wait_s, self._begin)
        return await one.outcome

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Who was given up while it waited is not in it.
        batch = [one for one in self._waiting if not one.outcome.done()]
        self._waiting = []
        if not batch:
            return
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for one in batch:
            one.outcome.add_done_callback(lambda _: self._given_up(task, batch))

    def _given_up(self, task: asyncio.Task[None], batch: list[_Waiting]) -> None:
        """A batch that nobody waits for any more ends with its tenure."""
        if all(one.outcome.cancelled() for one in batch):
            task.cancel()

    async def _run(self, batch: list[_Waiting], *, unsure: bool = False) -> None:
        """`unsure`: an earlier call with these messages failed, and nobody knows what it did."""
        try:
            outcomes = await self._call(batch, unsure=unsure)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or _is_cancelled(error):
                raise
            if len(batch) == 1 or not self._may_repeat(error):
                _fail(batch, error, unsure=unsure)
                return
            unsure = unsure or not isinstance(error, NotDone)
        else:
            _settle(batch, outcomes, unsure=unsure)
            return
        for one in batch:
            if not one.outcome.done():
                await self._run([one], unsure=unsure)

    def _may_repeat(self, error: BaseException) -> bool:
        return isinstance(error, NotDone) or self._handler.unfinished == "repeat"

    async def _call(self, batch: list[_Waiting], *, unsure: bool) -> list[Any]:
        deliveries = Deliveries(one.delivery if not unsure else replace(one.delivery, unfinished=True) for one in batch)
        messages = [one.message for one in batch]
        call = self._handler.function(messages, *self._arguments(deliveries))
        outcomes = await self._limits.within(self._handler.timeout_s, call)
        if not isinstance(outcomes, list | tuple) or len(outcomes) != len(batch):
            found = len(outcomes) if isinstance(outcomes, list | tuple) else type(outcomes).__name__
            raise BrokenBatchError(f"returned {found} for {len(batch)} messages, not a list with one outcome for each")
        return list(outcomes)


def _settle(batch: list[_Waiting], outcomes: list[Any], *, unsure: bool) -> None:
    for one, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, FAILED):
            _fail([one], outcome, unsure=unsure)
        elif not one.outcome.done():
            one.outcome.set_result(outcome)


def _fail(batch: list[_Waiting], error: BaseException, *, unsure: bool) -> None:
    """That it did nothing now does not take back what the call before may have done."""
    if unsure and isinstance(error, NotDone):
        error = Unknown(error.code, error.message)
    for one in batch:
        if not one.outcome.done():
            # A handler's `sys.exit` is its failure, and not the end of the program.
            one.outcome.set_exception(error if isinstance(error, Exception) else RuntimeError(f"ended by {error!r}"))


def _is_cancelled(error: BaseException) -> bool:
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
