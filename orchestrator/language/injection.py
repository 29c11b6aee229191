"""How a builder names what it needs: by type, narrowed with `From` where several steps yield the type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

EndingReason = Literal["refused", "failed", "silent", "deadline", "operator"]
"""What an author's builder is told."""
CauseReason = Literal[EndingReason, "parent"]
"""What the engine knows: `parent`, if the process that started this one has called it off or undoes it. Builders are
told `operator` then, since their contracts are older than children are (docs/decisions/0074-children.md)."""


@dataclass(frozen=True, slots=True)
class From:
    """`Annotated[PaymentCaptured, From("charge")]`: the outcome of that step, where several steps yield the type."""

    step: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """Where and why a process waits for a person; injectable into the functions of a saga's `on_stuck` block.

    `address`: the step's path, or `<step>/undo`; the first one, if it is stuck at several. `at`: since when, UTC.
    `number`: how many times this process has been stuck, this one included.
    """

    address: str
    reason: str
    at: datetime
    number: int


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a process is being undone; injectable into the builders of a saga's `cancelled` block.

    `reason`: `refused` (a business answer), `failed` (a command-failed), `silent` (no answer within the patience),
    `deadline` or `operator` (called off: by a person, an event, or the parent process). `step` is the name of the step
    that failed, if one did.
    """

    reason: EndingReason
    step: str | None
