"""Resources are injected into handlers by type; what is absent or ambiguous is an error before the first message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.sdk.batch import Deliveries
from services.sdk.delivery import Delivery
from services.sdk.failures import RegistrationError
from services.sdk.handler import Handler

Arguments = Callable[[Delivery | Deliveries], tuple[object, ...]]
"""Gives a handler's arguments after the message, or the messages of a batch."""


def bind(handler: Handler, resources: Sequence[object]) -> Arguments:
    """The resolved arguments of `handler`.

    Raises:
        RegistrationError: no resource, or more than one, fits a parameter.
    """
    slots = [
        None if kind in (Delivery, Deliveries) else (find(handler.name, kind, resources),)
        for kind in handler.parameters
    ]

    def arguments(delivery: Delivery | Deliveries) -> tuple[object, ...]:
        return tuple([delivery if slot is None else slot[0] for slot in slots])

    return arguments


def find(handler: str, kind: type[Any], resources: Sequence[object]) -> object:
    """The one resource whose class is `kind`; else the one that is an instance of it (base class or Protocol)."""
    exact = [resource for resource in resources if type(resource) is kind]
    fitting = exact or [resource for resource in resources if _fits(resource, kind)]
    if len(fitting) == 1:
        return fitting[0]
    offered = ", ".join(type(resource).__name__ for resource in resources) or "nothing"
    trouble = "is ambiguous" if fitting else "is missing"
    raise RegistrationError(f"{handler}: {kind.__name__} {trouble} among the service's resources ({offered})")


def _fits(resource: object, kind: type[Any]) -> bool:
    if getattr(kind, "_is_protocol", False):
        return all(hasattr(resource, member) for member in _members(kind))
    return isinstance(resource, kind)


def _members(protocol: type[Any]) -> set[str]:
    """The public members a Protocol asks for; Protocols need not be `runtime_checkable` to be injected."""
    classes = [kind for kind in protocol.__mro__ if getattr(kind, "_is_protocol", False)]
    names = {name for kind in classes for name in (*vars(kind), *getattr(kind, "__annotations__", {}))}
    return {name for name in names if not name.startswith("_")}
