"""Calling a saga author's builders: parameters gathered from the process, every fault turned into `BuilderFailed`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from contracts.message import Message
from orchestrator.engine.plan import Slot
from orchestrator.engine.process import Value

if TYPE_CHECKING:
    from orchestrator.engine.captured import Captured

Model = TypeVar("Model", bound=BaseModel)
PARSED_MAX = 4_096
"""Parsed payloads kept: one order's payload is wanted by several builders, in several decisions."""
PARSED_BYTES_MAX = 16 * 1024
"""A larger payload is parsed every time, so that the cache has at most 64 MiB of payloads."""
DETAIL_LENGTH_MAX = 500
"""Characters of an author's exception that are kept."""


class BuilderFailed(Exception):
    """A builder raised, made something else than it declares, or lacks an outcome. The step is stuck.

    Its text is one line that fits into a history, a lifecycle event and a state, whatever the author's exception says.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text[:DETAIL_LENGTH_MAX].encode(errors="replace").decode())


class PayloadInvalid(ValueError):
    """A payload does not fit its contract."""


class Built(Value, frozen=True):
    """A message that a builder has made, ready to be sent."""

    key: str
    data: bytes


def parse_payload(model: type[Model], data: bytes) -> Model:
    """Raises PayloadInvalid, whatever a contract's own validators raise."""
    try:
        return _parse_small(model, data) if len(data) <= PARSED_BYTES_MAX else model.model_validate_json(data)
    except Exception as error:
        raise PayloadInvalid(_said(error)) from error


@lru_cache(maxsize=PARSED_MAX)
def _parse_small(model: type[Any], data: bytes) -> Any:
    return model.model_validate_json(data)


def build(builder: Callable[..., Any], makes: type[Message], slots: tuple[Slot, ...], captured: Captured) -> Built:
    """The message that `builder` makes.

    Raises:
        BuilderFailed: with what the builder did wrong, in one line.
    """
    made = evaluate(builder, makes, slots, captured)
    try:
        built = Built(made.key, made.to_json())
        built.key.encode()
    except Exception as error:
        raise BuilderFailed(f"what {builder.__name__} made cannot be sent: {_said(error)}") from error
    return built


def evaluate(function: Callable[..., Any], returns: type[Any], slots: tuple[Slot, ...], captured: Captured) -> Any:
    """What a saga author's function returns: a value of exactly the class `returns`.

    Raises:
        BuilderFailed: it raised, returned something else, or lacks what it wants.
    """
    arguments = {slot.parameter: captured.value(slot) for slot in slots}
    try:
        made = function(**arguments)
    except Exception as error:
        raise BuilderFailed(f"{function.__name__} raised {_said(error)}") from error
    if type(made) is not returns:
        raise BuilderFailed(f"{function.__name__} returned {type(made).__name__}, but declares {returns.__name__}")
    return made


def serialize(items: Callable[..., Any], wants: type[BaseModel] | None, element: object) -> bytes:
    """An element of a `for_each` as it is kept.

    Raises:
        BuilderFailed: it is no `wants`, cannot be written, or cannot be read back.
    """
    if wants is None or type(element) is not wants:
        raise BuilderFailed(f"{items.__name__} returned a {type(element).__name__} among its elements")
    try:
        written = element.model_dump_json(warnings="error").encode()
        parse_payload(wants, written)
    except Exception as error:
        raise BuilderFailed(f"an element that {items.__name__} returned cannot be kept: {_said(error)}") from error
    return written


def _said(error: Exception) -> str:
    """The exception in one line, even if it cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    except Exception:  # noqa: BLE001 - whatever an author's __str__ does, the process is stuck and the shard goes on
        return type(error).__name__
