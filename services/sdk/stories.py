"""Tests of a service that read as the business does, with everything built in that goes wrong between brokers:

    await (
        given(ChargePayment(...), process_id="order-fulfilment:o1")
        .when(service, resources=lambda: [MemoryGateway()])
        .then(PaymentCaptured(...), effects=lambda gateway: len(gateway.charges))
    )

Each story is played in several worlds of its own, over the real middleware and no broker: as it is; with the message
delivered twice; and with a crash at each of the four points where an OS process can die, after which the message is
delivered again. What is published and done must be the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.message import Message
from contracts.technical import CommandFailed
from services.sdk.handler import Handler
from services.sdk.reasons import Code, Reason
from services.sdk.service import Service
from services.sdk.testing import CrashPoint, Harness, Published

MESSAGE_ID = "story"
UNCERTAIN = (CrashPoint.BEFORE_EFFECT, CrashPoint.AFTER_EFFECT)
"""Where a crash leaves a started mark and no outcome."""
Resources = Callable[[], Sequence[Any]]


def given(*messages: Message, **attributes: Any) -> Given:
    """The last message is the one that the story is about; the others came before it. `attributes`: of the last, as
    `Harness.deliver` takes them (process_id, undoes, deadline, idempotency_key, ...)."""
    if not messages:
        raise ValueError("a story begins with a message")
    return Given(messages[:-1], messages[-1], attributes)


@dataclass(frozen=True)
class Given:
    earlier: tuple[Message, ...]
    message: Message
    attributes: dict[str, Any]

    def when(self, service: Service, resources: Resources = tuple) -> When:
        """`service` handles it. `resources` makes new ones for each world.

        Raises:
            LookupError: it has no handler for the message.
        """
        handler = service.handlers.get(self.message.type)
        if handler is None:
            raise LookupError(f"{service.name} does not handle {self.message.type}")
        return When(self, service, handler, resources)


@dataclass(frozen=True)
class _World:
    """How one playing of the story ended. `effects`: what the story counts, None if it counts nothing."""

    name: str
    published: list[Published]
    effects: Any

    def once(self) -> list[Published]:
        """Each message once, in order: a repeat has the id and the bytes of the first."""
        found: dict[tuple[str, str], Published] = {}
        for one in self.published:
            first = found.setdefault((one.record.topic, one.envelope.id), one)
            assert first.record.value == one.record.value, f"{self.name}: a repeat of {one.envelope.type} differs"
        return list(found.values())


@dataclass(frozen=True)
class When:
    story: Given
    service: Service
    handler: Handler
    resources: Resources

    async def then(self, *outcomes: Message, effects: Callable[..., Any] | None = None) -> None:
        """These messages are published, in this order and nothing else, in every world. `effects(*resources)` says what
        was done outside; it must be the same in every world.

        A handler with `unfinished="unknown"` is not executed again after a crash that left its end unknown: then
        the answer is command-failed with effect unknown (of an event, a dead letter), and nothing is done twice.

        Raises:
            AssertionError: names the world and the difference.
        """
        plain = await self._plain(effects)
        _same(plain.name, [one.message for one in plain.once()], list(outcomes))
        for world in (await self._twice(effects), *[await self._crashed(point, effects) for point in CrashPoint]):
            unsure = self.handler.unfinished == "unknown" and world.name in UNCERTAIN
            if unsure:
                _uncertain(world, self.handler)
                continue
            _same(world.name, [one.message for one in world.once()], list(outcomes))
            assert world.effects == plain.effects, f"{world.name}: {world.effects!r} was done, not {plain.effects!r}"

    async def then_fails(self, code: str, effect: str = "none") -> None:
        """The command is answered with command-failed, as it is and delivered twice."""
        for world in (await self._plain(None), await self._twice(None)):
            answers = [one.message for one in world.once() if isinstance(one.message, CommandFailed)]
            found = [(one.code, one.effect) for one in answers]
            assert found == [(code, effect)], f"{world.name}: {found} instead of {(code, effect)}"

    async def then_dead_letter(self, reason: Reason) -> None:
        """The message is given up for this reason, and nothing is published for it."""
        world = await self._plain(None)
        reasons = [dict(one.record.headers).get("dl_reason", b"").decode() for one in world.published]
        assert reasons == [reason], f"{world.name}: {reasons} instead of one dead letter for {reason}"

    async def _plain(self, effects: Callable[..., Any] | None) -> _World:
        async with self._world() as (harness, resources):
            published = await self._deliver(harness)
            return _World("as it is", published, effects and effects(*resources))

    async def _twice(self, effects: Callable[..., Any] | None) -> _World:
        async with self._world() as (harness, resources):
            published = [*await self._deliver(harness), *await self._deliver(harness)]
            return _World("delivered twice", published, effects and effects(*resources))

    async def _crashed(self, point: CrashPoint, effects: Callable[..., Any] | None) -> _World:
        async with self._world() as (harness, resources):
            harness.crash_at = point
            published = await self._deliver(harness)
            published += await harness.restart()
            return _World(point, published, effects and effects(*resources))

    async def _deliver(self, harness: Harness) -> list[Published]:
        return await harness.deliver(self.story.message, **{"id": MESSAGE_ID, **self.story.attributes})

    def _world(self) -> _Playing:
        return _Playing(self)


class _Playing:
    """One world, in which the earlier messages have been."""

    def __init__(self, when: When) -> None:
        self._resources = when.resources()
        self._harness = Harness(when.service, self._resources)
        self._earlier = when.story.earlier

    async def __aenter__(self) -> tuple[Harness, Sequence[Any]]:
        await self._harness.__aenter__()
        for message in self._earlier:
            await self._harness.deliver(message)
        return self._harness, self._resources

    async def __aexit__(self, *error: Any) -> None:
        await self._harness.kill()


def _same(world: str, found: list[Message | None], expected: list[Message]) -> None:
    assert found == expected, f"{world}: published {found}, not {expected}"


def _uncertain(world: _World, handler: Handler) -> None:
    found = world.once()
    if handler.is_command:
        answers = [(one.message.code, one.message.effect) for one in found if isinstance(one.message, CommandFailed)]
        assert answers == [(Code.UNFINISHED, "unknown")], f"{world.name}: {answers} instead of effect unknown"
        return
    reasons = [dict(one.record.headers).get("dl_reason", b"").decode() for one in found]
    assert reasons == [Reason.UNFINISHED], f"{world.name}: {reasons} instead of a dead letter for {Reason.UNFINISHED}"
