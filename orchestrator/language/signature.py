"""What a builder asks for and what it makes, read from its annotations. Used by the engine and by `verify`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from contracts.message import Message
from orchestrator.language.injection import Ending, From, Stuck


class SignatureError(TypeError):
    """A builder's annotations cannot be understood; the message names the builder and the parameter."""


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    wants: type[BaseModel] | type[Ending] | type[Stuck]
    """A message, the `Ending`, the `Stuck`, or the element of an enclosing `for_each`."""
    optional: bool
    """`T | None`: None is injected where T has not been captured."""
    source: str | None
    """The step named by `From`."""
    many: bool = False
    """`tuple[T, ...]`: what the steps inside a `for_each` have yielded, in element order."""


@dataclass(frozen=True, slots=True)
class Signature:
    parameters: tuple[Parameter, ...]
    returns: type[Message]


def read_signature(builder: Callable[..., Any]) -> Signature:
    """Raises SignatureError: a parameter or the return value has no usable annotation."""
    name, hints = _hints(builder)
    returns = hints.get("return")
    if not (isinstance(returns, type) and issubclass(returns, Message) and returns.type):
        raise SignatureError(f"{name}: its return type must be one message class, not {returns!r}")
    return Signature(read_parameters(builder), returns)


def read_parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """What a builder, or a predicate, asks for. Raises SignatureError."""
    name, hints = _hints(function)
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureError(f"{name}: *args and **kwargs cannot be injected")
        if parameter.name not in hints:
            raise SignatureError(f"{name}: parameter {parameter.name!r} has no type")
        parameters.append(_parameter(name, parameter.name, hints[parameter.name]))
    return tuple(parameters)


def read_element(items: Callable[..., Any]) -> type[BaseModel]:
    """The element type of a `for_each`: `items` is annotated `-> tuple[Element, ...]`. Raises SignatureError."""
    name, hints = _hints(items)
    returned = hints.get("return")
    arguments = typing.get_args(returned)
    if typing.get_origin(returned) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        element = arguments[0]
        if isinstance(element, type) and issubclass(element, BaseModel):
            return element
    raise SignatureError(f"{name}: its return type must be tuple[Element, ...] of a pydantic model, not {returned!r}")


def _hints(builder: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    name = getattr(builder, "__name__", repr(builder))
    try:
        hints = typing.get_type_hints(builder, include_extras=True)
    except Exception as error:  # whatever an annotation's expression raises (noqa is not needed: re-raised)
        raise SignatureError(f"{name}: its annotations cannot be evaluated: {error}") from error
    return name, hints


def _parameter(builder: str, name: str, hint: Any) -> Parameter:
    source = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        source = next((extra.step for extra in extras if isinstance(extra, From)), None)
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional = len(members) < len(typing.get_args(hint))
        if len(members) != 1:
            raise SignatureError(f"{builder}: parameter {name!r} may be one type or that type or None, not {hint}")
        hint = members[0]
    many = typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] == (Ellipsis,)
    if many:
        hint = typing.get_args(hint)[0]
    if hint is Ending or hint is Stuck or (isinstance(hint, type) and issubclass(hint, BaseModel)):
        return Parameter(name, hint, optional, source, many)
    raise SignatureError(f"{builder}: parameter {name!r} has type {hint!r}, which no process can capture")
