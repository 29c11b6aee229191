"""Which message types exist: the one list that publishers, the router and the schemas read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from contracts import (
    accounts,
    deals,
    documents,
    identity,
    inventory,
    invoicing,
    leads,
    limits,
    notifications,
    orders,
    payment,
    process,
    purchasing,
    schedules,
    shipping,
    storefront,
    technical,
)
from contracts.message import Command, Event, Message

CONTEXTS: dict[str, ModuleType] = {
    "orders": orders,
    "inventory": inventory,
    "payment": payment,
    "shipping": shipping,
    "purchasing": purchasing,
    "storefront": storefront,
    "accounts": accounts,
    "notifications": notifications,
    "identity": identity,
    "leads": leads,
    "documents": documents,
    "deals": deals,
    "invoicing": invoicing,
    "schedules": schedules,
}
"""The business contexts. Each has the topics `<context>.commands` and `<context>.events`."""


class UnknownTypeError(LookupError):
    """No contract has this type name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no contract for message type {name!r}")
        self.name = name


class Catalog:
    """Message classes by type name. Immutable; `including` makes a larger one."""

    def __init__(self, messages: Iterable[type[Message]]) -> None:
        self._by_type: Mapping[str, type[Message]] = {message.type: message for message in messages if message.type}

    @classmethod
    def of(cls, modules: Iterable[ModuleType]) -> Catalog:
        """All concrete messages that the modules define."""
        return cls(
            value
            for module in modules
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__
        )

    def including(self, messages: Iterable[type[Message]]) -> Catalog:
        return Catalog([*self._by_type.values(), *messages])

    def get(self, type_name: str) -> type[Message] | None:
        return self._by_type.get(type_name)

    def require(self, type_name: str) -> type[Message]:
        """Raises UnknownTypeError."""
        found = self._by_type.get(type_name)
        if found is None:
            raise UnknownTypeError(type_name)
        return found

    def commands(self) -> tuple[type[Command], ...]:
        return tuple(m for m in self._by_type.values() if issubclass(m, Command))

    def events(self) -> tuple[type[Event], ...]:
        return tuple(m for m in self._by_type.values() if issubclass(m, Event))

    def __iter__(self) -> Iterator[type[Message]]:
        return iter(self._by_type.values())

    def __len__(self) -> int:
        return len(self._by_type)


def standard_catalog() -> Catalog:
    """Every message of this repository: the business contexts, the technical outcome and the orchestrator's own."""
    return Catalog.of([*CONTEXTS.values(), technical, process, limits])
