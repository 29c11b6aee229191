"""One handler: what it takes, what it may return, how it is retried. All its mistakes are found at registration."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args, get_origin

from contracts.message import Command, Event, Message
from services.sdk.batch import Batching, Deliveries
from services.sdk.delivery import Delivery
from services.sdk.failures import RegistrationError
from services.sdk.limits import Limit
from services.sdk.retry import Retry

Returned: TypeAlias = "Message | tuple[Message, ...] | list[Message] | None"
HandlerFunction: TypeAlias = Callable[..., Awaitable[Any]]
Unfinished: TypeAlias = Literal["repeat", "unknown"]
"""What to do with an execution whose end is unknown: repeat it with the same key, because everything it touches
honours keys, or report `effect=unknown`."""

TIMEOUT_S = 60.0
"""Default limit of one execution."""


@dataclass(frozen=True, slots=True)
class Handler:
    name: str
    message: type[Message]
    function: HandlerFunction
    retry: Retry
    unfinished: Unfinished
    timeout_s: float
    parameters: tuple[type[Any], ...]
    """The types to inject after the message, in order."""
    returns: tuple[type[Message], ...]
    """The messages that its return annotation names."""
    limit: Limit | None = None
    batching: Batching | None = None
    """Set if the function takes a list of messages."""
    wants: Callable[[Message], bool] | None = None
    """Which messages of its type it takes; None: all. The others are skipped."""

    is_command: bool = field(init=False)
    outcomes: tuple[type[Event], ...] = field(init=False)
    """The declared outcomes of a command; none for an event."""
    successes: tuple[type[Event], ...] = field(init=False)
    """Those among them that say that it was done."""

    def __post_init__(self) -> None:
        message = self.message
        successes = message.succeeds if issubclass(message, Command) else ()
        outcomes = (*successes, *message.refuses) if issubclass(message, Command) else ()
        object.__setattr__(self, "is_command", issubclass(message, Command))
        object.__setattr__(self, "outcomes", outcomes)
        object.__setattr__(self, "successes", successes)


def make_handler(
    function: HandlerFunction,
    message: type[Message],
    retry: Retry,
    unfinished: Unfinished,
    timeout_s: float,
    limit: Limit | None = None,
    batching: Batching | None = None,
) -> Handler:
    """Raises RegistrationError."""
    name = getattr(function, "__name__", repr(function))
    if not inspect.iscoroutinefunction(function):
        raise RegistrationError(f"{name}: a handler is an `async def` function")
    if not message.type:
        raise RegistrationError(f"{name}: {message.__name__} has no type name, so it is not a message")
    if unfinished not in ("repeat", "unknown"):
        raise RegistrationError(f"{name}: unfinished is {unfinished!r}, not 'repeat' or 'unknown'")
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise RegistrationError(
            f"{name}: {error}; import the types of its annotations at run time, not only under TYPE_CHECKING"
        ) from error
    parameters = _injected(name, function, message if batching is None else list[message], hints)  # type: ignore[valid-type]
    wrong, right = (Deliveries, Delivery) if batching is None else (Delivery, Deliveries)
    if wrong in parameters:
        raise RegistrationError(f"{name}: it has {right.__name__}, not {wrong.__name__}")
    returns = _returned(name, message, hints)
    return Handler(name, message, function, retry, unfinished, timeout_s, parameters, returns, limit, batching)


def _injected(name: str, function: HandlerFunction, first: Any, hints: dict[str, Any]) -> tuple[type[Any], ...]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or hints.get(parameters[0].name) != first:
        shown = str(first) if get_origin(first) is not None else first.__name__
        raise RegistrationError(f"{name}: its first parameter must be annotated with {shown}")
    found: list[type[Any]] = []
    for parameter in parameters[1:]:
        kind = hints.get(parameter.name)
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise RegistrationError(f"{name}: {parameter.name} cannot be injected; use plain parameters")
        if not isinstance(kind, type):
            raise RegistrationError(f"{name}: {parameter.name} is injected by type, so annotate it with a class")
        if kind in found:
            raise RegistrationError(f"{name}: two parameters of type {kind.__name__} are ambiguous")
        found.append(kind)
    return tuple(found)


def _returned(name: str, message: type[Message], hints: dict[str, Any]) -> tuple[type[Message], ...]:
    """The annotated messages. As far as an annotation shows: a command's handler returns an outcome of its contract,
    and nothing instead."""
    if "return" not in hints:
        raise RegistrationError(f"{name}: annotate what it returns; the annotation is part of its contract")
    alternatives = _alternatives(hints["return"])
    parts = [part for alternative in alternatives for part in _parts(alternative)]
    named = tuple(part for part in parts if isinstance(part, type) and issubclass(part, Message) and part.type)
    if not issubclass(message, Command):
        return named
    outcomes = (*message.succeeds, *message.refuses)
    names = ", ".join(outcome.__name__ for outcome in outcomes)
    for alternative in alternatives:
        if not any(_may_be(part, outcomes) for part in _parts(alternative)):
            shown = getattr(alternative, "__name__", str(alternative))
            raise RegistrationError(
                f"{name}: it may return {shown} without an outcome of {message.__name__}; declared are {names}"
            )
    return named


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(part for alternative in get_args(annotation) for part in _alternatives(alternative))
    return (annotation,)


def _parts(alternative: Any) -> tuple[Any, ...]:
    """The message types in a tuple or list annotation; the annotation itself otherwise."""
    if get_origin(alternative) in (tuple, list):
        return tuple(part for item in get_args(alternative) if item is not ... for part in _alternatives(item))
    return (alternative,)


def _may_be(part: Any, outcomes: tuple[type[Event], ...]) -> bool:
    """True for an outcome, and for a base class of one (`Message`, `Event`), which is checked at run time."""
    return part is Any or (isinstance(part, type) and any(issubclass(outcome, part) for outcome in outcomes))
