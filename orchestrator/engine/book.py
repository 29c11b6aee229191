"""Which sagas there are: compiled once, asked by the router and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from contracts.catalog import Catalog, standard_catalog
from contracts.message import Command, Event, Message
from orchestrator.engine.plan import Plan, PlanError, compile_saga
from orchestrator.language.blocks import Emit
from orchestrator.language.saga import Saga
from orchestrator.language.waiting import WaitFor


class UnknownVersion(LookupError):
    """The log names a saga version that this build lacks; its shard must wait for a build that has it."""

    def __init__(self, saga: str, version: int) -> None:
        super().__init__(f"saga {saga!r} version {version} is in the log, but not in this build")
        self.saga = saga
        self.version = version


@dataclass(frozen=True, slots=True)
class Route:
    """A saga that starts on an event type, or waits for it. `version` is the newest one that does."""

    saga: str
    version: int
    plan: Plan
    wants: type[Event]
    key_of: Callable[[Any], str]

    def key(self, message: Message) -> str:
        """The business key. The saga author's function: whatever it raises is raised."""
        return self.key_of(message)


class SagaBook:
    """All sagas of a build, several versions of each.

    Raises:
        PlanError, SignatureError: a saga cannot be compiled, or two have the same name and version.
    """

    def __init__(self, sagas: Iterable[Saga], catalog: Catalog | None = None) -> None:
        self.catalog = catalog or standard_catalog()
        self._plans: dict[tuple[str, int], Plan] = {}
        for saga in sagas:
            if (saga.name, saga.version) in self._plans:
                raise PlanError(f"saga {saga.name} version {saga.version} is defined twice")
            self._plans[saga.name, saga.version] = compile_saga(saga)
        self._routes: dict[str, tuple[Route, ...]] = {}
        for plan in self.newest():
            saga = plan.saga
            route = Route(saga.name, saga.version, plan, saga.starts_on, saga.key)
            self._routes[saga.starts_on.type] = (*self._routes.get(saga.starts_on.type, ()), route)
        self._observes: dict[str, tuple[Route, ...]] = {}
        for route in self._observing():
            self._observes[route.wants.type] = (*self._observes.get(route.wants.type, ()), route)
        commands = [message for message in self._messages() if issubclass(message, Command)]
        self.success_types = frozenset(event.type for command in commands for event in command.succeeds)
        self.contexts = _contexts(self._messages())
        """Whose events are read, and whose commands are sent."""
        self.told_contexts = _contexts(self._told())
        """Whose events sagas tell (`emit`)."""

    def _observing(self) -> Iterator[Route]:
        """For every block that waits for an event, and every event that calls a process off; the newest versions
        first, since running processes keep theirs."""
        for (name, version), plan in sorted(self._plans.items(), key=lambda item: (item[0][0], -item[0][1])):
            for node in plan.nodes:
                block = node.block
                if isinstance(block, WaitFor) and block.key is not None and issubclass(block.wants, Event):
                    yield Route(name, version, plan, block.wants, block.key)
            if plan.saga.cancelled_by is not None:
                yield Route(name, version, plan, *plan.saga.cancelled_by)

    def _messages(self) -> list[type[Message]]:
        found: list[type[Message]] = [route.wants for routes in self._observes.values() for route in routes]
        for plan in self._plans.values():
            found.append(plan.saga.starts_on)
            for node in plan.nodes:
                found.extend(made for made in (node.makes, node.undo_makes) if made and issubclass(made, Command))
        return found

    def _told(self) -> Iterator[type[Message]]:
        for plan in self._plans.values():
            for node in plan.nodes:
                if isinstance(node.block, Emit) and node.makes is not None:
                    yield node.makes

    def newest(self) -> tuple[Plan, ...]:
        """The newest version of each saga, by name."""
        newest: dict[str, Plan] = {}
        for (name, _), plan in sorted(self._plans.items()):
            newest[name] = plan
        return tuple(newest.values())

    def plans(self) -> tuple[Plan, ...]:
        return tuple(self._plans.values())

    def plan(self, saga: str, version: int) -> Plan:
        """Raises UnknownVersion."""
        found = self._plans.get((saga, version))
        if found is None:
            raise UnknownVersion(saga, version)
        return found

    def routes(self, event_type: str) -> tuple[Route, ...]:
        """The sagas that start on it."""
        return self._routes.get(event_type, ())

    def observes(self, event_type: str) -> tuple[Route, ...]:
        """The sagas that wait for it, of all versions, the newest first; several times if at several blocks."""
        return self._observes.get(event_type, ())


def _contexts(messages: Iterable[type[Message]]) -> frozenset[str]:
    return frozenset(message.type.split(".", 1)[0] for message in messages)
