"""How a command ends when it is not done: one exception an exit code, whose message is the sentence that is shown."""

from __future__ import annotations


class CommandFailure(Exception):
    """The message is for a person; `details` are further lines, such as one a wrong field."""

    exit_code = 1

    def __init__(self, sentence: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.details = details


class Refused(CommandFailure):
    """What was asked is not allowed, or makes no sense as things are."""

    exit_code = 1


class Usage(CommandFailure):
    """The command line itself is wrong."""

    exit_code = 2


class NotFound(CommandFailure):
    exit_code = 3


class StackAway(CommandFailure):
    """Kafka, Redis or the orchestrator cannot be reached, or no endpoints are known."""

    exit_code = 4
