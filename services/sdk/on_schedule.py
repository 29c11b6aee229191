"""Handlers of a schedule's ticks. The schedule itself is declared in the scheduler's file; here is what is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.message import Message
from contracts.schedules import ScheduleTick
from services.sdk.failures import RegistrationError
from services.sdk.handler import Handler


@dataclass
class ScheduleHandlers:
    """All schedules that one service knows, as the one handler of `schedules.tick` that a service may have."""

    _by_schedule: dict[str, Handler] = field(default_factory=dict)

    def add(self, schedule_id: str, handler: Handler) -> Handler:
        """The handler of ticks, with one more schedule.

        Raises:
            RegistrationError: the schedule has a handler, or this one is retried or limited otherwise than the others.
        """
        earlier = self._by_schedule.get(schedule_id)
        if earlier is not None:
            raise RegistrationError(f"{handler.name}: {earlier.name} already handles the schedule {schedule_id!r}")
        for other in self._by_schedule.values():
            if _policies(other) != _policies(handler):
                raise RegistrationError(
                    f"{handler.name}: retry, unfinished, timeout_s and limit must be those of {other.name}: all"
                    " schedules of a service share them"
                )
        self._by_schedule[schedule_id] = handler
        return _together(self._by_schedule)


def _policies(handler: Handler) -> tuple[object, ...]:
    return (handler.retry, handler.unfinished, handler.timeout_s, handler.limit)


def _together(by_schedule: Mapping[str, Handler]) -> Handler:
    handlers = dict(by_schedule)
    first = next(iter(handlers.values()))
    parameters = tuple(dict.fromkeys(kind for one in handlers.values() for kind in one.parameters))
    returns = tuple(dict.fromkeys(kind for one in handlers.values() for kind in one.returns))
    places = {name: [parameters.index(kind) for kind in one.parameters] for name, one in handlers.items()}

    async def on_schedule(tick: ScheduleTick, *injected: Any) -> Any:
        handler = handlers[tick.schedule_id]
        return await handler.function(tick, *(injected[place] for place in places[tick.schedule_id]))

    # What it publishes is read from its annotation, as every handler's is.
    on_schedule.__annotations__["return"] = tuple[returns] if returns else None  # type: ignore[valid-type]
    return Handler(
        name="on_schedule",
        message=ScheduleTick,
        function=on_schedule,
        retry=first.retry,
        unfinished=first.unfinished,
        timeout_s=first.timeout_s,
        parameters=parameters,
        returns=returns,
        limit=first.limit,
        wants=_wanted(frozenset(handlers)),
    )


def _wanted(schedules: frozenset[str]) -> Callable[[Message], bool]:
    def wants(message: Message) -> bool:
        return isinstance(message, ScheduleTick) and message.schedule_id in schedules

    return wants
