"""What the runner tells while it works; who shows it, and how, is the caller's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Event = Literal["starting", "ready", "already-running", "stopping", "stopped", "killed", "not-running", "note"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step: what happened to part `name`, after how many seconds, a detail for people (an address, a reason)."""

    name: str
    event: Event
    seconds: float = 0.0
    detail: str = ""


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Show nothing: what a test wants."""
