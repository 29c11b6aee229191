"""The one technical outcome that answers any command."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool

from contracts.message import Event, Text

DEADLINE_EXCEEDED = "deadline-exceeded"


class CommandFailed(Event, type="counterpoint.command-failed.v1"):
    """A command failed for a technical reason. Published on the *command's* `<context>.events`, with its key.

    `effect` is `none` only if the service is certain that nothing happened outside.
    `retryable` says whether a new try under a new key may help.
    """

    command_type: Text
    code: Text
    message: str
    effect: Literal["none", "unknown"]
    retryable: StrictBool
