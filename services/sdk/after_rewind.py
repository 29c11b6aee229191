"""What a service tells again after its store went back in time: the registration of `@service.after_rewind`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from contracts.message import Event
from services.sdk.failures import RegistrationError
from services.sdk.injection import find

Pages: TypeAlias = AsyncIterator[Sequence[Event]]


@dataclass(frozen=True, slots=True)
class AfterRewind:
    """`function` takes resources, injected by type, and yields pages of events: a page is published and acknowledged
    before the next is asked for."""

    name: str
    function: Callable[..., Pages]
    parameters: tuple[type[Any], ...]

    def bound(self, resources: Sequence[object]) -> Callable[[], Pages]:
        """Raises RegistrationError: a resource is missing or ambiguous."""
        arguments = [find(self.name, kind, resources) for kind in self.parameters]
        return lambda: self.function(*arguments)


def make_after_rewind(function: Callable[..., Pages]) -> AfterRewind:
    """Raises RegistrationError."""
    name = getattr(function, "__name__", repr(function))
    if not inspect.isasyncgenfunction(function):
        raise RegistrationError(f"{name}: what runs after a rewind is an `async def` that yields pages of events")
    hints = typing.get_type_hints(function)
    kinds = [hints.get(parameter) for parameter in inspect.signature(function).parameters]
    if not all(isinstance(kind, type) for kind in kinds):
        raise RegistrationError(f"{name}: its parameters are injected by type, so annotate each with a class")
    return AfterRewind(name, function, tuple(kind for kind in kinds if isinstance(kind, type)))
