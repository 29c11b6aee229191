"""A service: a name, its resources, its handlers. Declares; runs nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from contracts.catalog import Catalog, standard_catalog
from contracts.message import Command, Message
from contracts.schedules import ScheduleTick
from contracts.topics import commands_topic, replays_topic
from services.sdk.after_rewind import AfterRewind, make_after_rewind
from services.sdk.batch import Batching
from services.sdk.failures import RegistrationError
from services.sdk.handler import TIMEOUT_S, Handler, Unfinished, make_handler
from services.sdk.limits import Limit
from services.sdk.on_schedule import ScheduleHandlers
from services.sdk.retry import Retry

Connect = Callable[[Any], AbstractAsyncContextManager[Sequence[object]]]
"""`connect(settings)` yields the service's resources and releases them at the end; settings are the host's."""

NAME_PATTERN = re.compile(r"^[a-z][a-z0-9-]{0,62}$")
Function = TypeVar("Function", bound=Callable[..., Any])


@asynccontextmanager
async def no_resources(_settings: object) -> AsyncIterator[Sequence[object]]:
    """For a service whose handlers need nothing."""
    yield ()


class Service:
    """One automation. `contexts`: those whose unknown command types this service answers; one service a context.

    Raises:
        RegistrationError: the name is not `[a-z][a-z0-9-]*`.
    """

    def __init__(
        self,
        name: str,
        *,
        resources: Connect = no_resources,
        contexts: Sequence[str] = (),
        catalog: Catalog | None = None,
    ) -> None:
        if not NAME_PATTERN.match(name):
            raise RegistrationError(f"service name {name!r} is not {NAME_PATTERN.pattern}")
        self.name = name
        self.connect = resources
        self.contexts = tuple(contexts)
        self.catalog = catalog or standard_catalog()
        self._handlers: dict[str, Handler] = {}
        self._after_rewind: AfterRewind | None = None
        self._schedules = ScheduleHandlers()

    def handles(
        self,
        message: type[Message],
        *,
        retry: Retry | None = None,
        unfinished: Unfinished = "unknown",
        timeout_s: float = TIMEOUT_S,
        limit: Limit | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated `async def` for `message`. One handler a type; versions of a message are types.

        `unfinished="repeat"` promises that everything the handler touches honours the idempotency key; with "unknown"
        an execution of unknown end is never repeated, in process neither. `timeout_s` limits one execution. `limit`:
        how many executions this replica does at once, or a second.

        Raises:
            RegistrationError: the function does not fit the message's contract.
        """

        def register(function: Function) -> Function:
            handler = make_handler(function, message, retry or Retry(), unfinished, timeout_s, limit)
            self._add(handler)
            return function

        return register

    def _add(self, handler: Handler) -> None:
        earlier = self._handlers.get(handler.message.type)
        if earlier is not None:
            raise RegistrationError(f"{handler.name}: {earlier.name} already handles {handler.message.type}")
        self._handlers[handler.message.type] = handler

    def handles_batch(
        self,
        message: type[Message],
        *,
        max_records: int = 100,
        max_wait_s: float = 0.1,
        retry: Retry | None = None,
        unfinished: Unfinished = "unknown",
        timeout_s: float = TIMEOUT_S,
        limit: Limit | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated `async def` for lists of `message`; it returns a list with one outcome for each, in
        their order: what a handler of one message returns, or a NotDone or Unknown.

        A batch is handled when it has `max_records`, or `max_wait_s` after its first. All else is as with `handles`,
        for each message on its own. A batch that raises is done again one by one, if the handler may be repeated or is
        certain that nothing was done. `timeout_s` limits one call, of a batch or of one message.

        Raises:
            RegistrationError: as `handles`. ValueError: a number out of range.
        """
        batching = Batching(max_records, max_wait_s)

        def register(function: Function) -> Function:
            made = make_handler(function, message, retry or Retry(), unfinished, timeout_s, limit, batching)
            self._add(made)
            return function

        return register

    def on_schedule(
        self,
        schedule_id: str,
        *,
        retry: Retry | None = None,
        unfinished: Unfinished = "unknown",
        timeout_s: float = TIMEOUT_S,
        limit: Limit | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated `async def` for the ticks of one schedule; those of others are skipped. When the
        schedule is due is declared in the scheduler's file (services/scheduler/declarations.py). A service may have
        several, with the same policies.

        Raises:
            RegistrationError: as `handles`; the schedule has a handler already, or `handles(ScheduleTick)` has.
        """

        def register(function: Function) -> Function:
            handler = make_handler(function, ScheduleTick, retry or Retry(), unfinished, timeout_s, limit)
            earlier = self._handlers.get(ScheduleTick.type)
            if earlier is not None and earlier.wants is None:
                raise RegistrationError(f"{handler.name}: {earlier.name} already handles the ticks of all schedules")
            self._handlers[ScheduleTick.type] = self._schedules.add(schedule_id, handler)
            return function

        return register

    def after_rewind(self, function: Function) -> Function:
        """Register the decorated async generator: it runs when the service's store turns out to have gone back in
        time, before the replay, and yields pages of events to publish. It may run more often than that: on every
        replica, and again after a crash.

        Raises:
            RegistrationError: it is none, or there is one already.
        """
        if self._after_rewind is not None:
            raise RegistrationError(f"{self.name}: {self._after_rewind.name} already runs after a rewind")
        self._after_rewind = make_after_rewind(function)
        return function

    @property
    def when_rewound(self) -> AfterRewind | None:
        return self._after_rewind

    @property
    def handlers(self) -> dict[str, Handler]:
        """By type name."""
        return dict(self._handlers)

    @property
    def commands(self) -> tuple[str, ...]:
        """The command types that this service handles, sorted; `contracts/handlers.json` is made of them."""
        return tuple(sorted(name for name, handler in self._handlers.items() if issubclass(handler.message, Command)))

    @property
    def topics(self) -> tuple[str, ...]:
        """What this service subscribes to, sorted."""
        names = {handler.message.topic for handler in self._handlers.values()}
        names |= {commands_topic(context) for context in self.contexts}
        return tuple(sorted(names | {replays_topic(self.name)}))
