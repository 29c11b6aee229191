"""Answers made from the commands that they answer, for tests that do not care what is in them."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import ValidationError

from contracts.message import Event, Message
from contracts.technical import CommandFailed
from orchestrator.testkit.reading import Sent

E = TypeVar("E", bound=Event)


def answer_like(command: Message, event: type[E]) -> E:
    """The event with the command's fields of the same names.

    Raises:
        AssertionError: the event has a required field that the command lacks; the test must give the event.
    """
    fields = {name: getattr(command, name) for name in event.model_fields if hasattr(command, name)}
    try:
        return event(**fields)
    except ValidationError as error:
        raise AssertionError(f"{event.__name__} cannot be made from {type(command).__name__}; give it") from error


def failure(sent: Sent, effect: Literal["none", "unknown"], retryable: bool, code: str = "broken") -> CommandFailed:
    """The technical failure of a sent command."""
    return CommandFailed(
        command_type=sent.model.type, code=code, message="as told by the test", effect=effect, retryable=retryable
    )
