"""A service for the SDK's own tests: one command with its undo, one event, and an outside world to script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from contracts.catalog import Catalog
from contracts.message import Command, Event, Identifier
from contracts.technical import CommandFailed
from services.sdk import Delivery, Retry, Service
from services.sdk.handler import Unfinished


class Pinged(Event, type="sample.pinged.v1"):
    name: Identifier
    count: int = 1


class Refused(Event, type="sample.refused.v1"):
    name: Identifier


class Ping(Command, type="sample.ping.v1", succeeds=Pinged, refuses=Refused):
    name: Identifier
    text: str = ""


class Unpinged(Event, type="sample.unpinged.v1"):
    name: Identifier


class Unping(Command, type="sample.unping.v1", succeeds=Unpinged):
    name: Identifier


class Noticed(Event, type="sample.noticed.v1"):
    name: Identifier


class Heard(Event, type="sample.heard.v1"):
    name: Identifier


class Unhandled(Command, type="sample.unhandled.v1", succeeds=Heard):
    """In the catalog, of this context, and nobody handles it."""

    name: Identifier


CATALOG = Catalog([Pinged, Refused, Ping, Unpinged, Unping, Noticed, Heard, Unhandled, CommandFailed])


@dataclass
class World:
    """Honours idempotency keys. `script` is what the next calls do: raise before the effect, or after it."""

    effects: list[str] = field(default_factory=list)
    calls: list[Delivery] = field(default_factory=list)
    before: list[BaseException | None] = field(default_factory=list)
    after: list[BaseException | None] = field(default_factory=list)
    answers: Callable[[Ping], object] = lambda command: Pinged(name=command.name)
    """What the handler of Ping returns."""

    def act(self, delivery: Delivery) -> None:
        self.calls.append(delivery)
        _raise_next(self.before)
        if delivery.idempotency_key not in self.effects:
            self.effects.append(delivery.idempotency_key)
        _raise_next(self.after)


def _raise_next(script: list[BaseException | None]) -> None:
    error = script.pop(0) if script else None
    if error is not None:
        raise error


def make_service(
    *,
    unfinished: Unfinished = "repeat",
    retry: Retry | None = None,
    timeout_s: float = 5.0,
    name: str = "sample",
) -> Service:
    service = Service(name, contexts=("sample",), catalog=CATALOG)
    retry = retry or Retry(attempts=3, first=0.2, jitter=0)

    @service.handles(Ping, retry=retry, unfinished=unfinished, timeout_s=timeout_s)
    async def ping(command: Ping, world: World, delivery: Delivery) -> Pinged | Refused:
        world.act(delivery)
        return world.answers(command)  # type: ignore[return-value]  # scripted, wrong answers too

    @service.handles(Unping, retry=retry, unfinished=unfinished)
    async def unping(command: Unping, world: World, delivery: Delivery) -> Unpinged:
        world.act(delivery)
        return Unpinged(name=command.name)

    @service.handles(Noticed, retry=retry, unfinished=unfinished)
    async def hear(event: Noticed, world: World, delivery: Delivery) -> Heard:
        world.act(delivery)
        return Heard(name=event.name)

    return service
