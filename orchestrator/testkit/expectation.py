"""What a story compares: raised where a process has done something else than is told."""

from __future__ import annotations

from orchestrator.engine.process import Process
from orchestrator.testkit.fold import Fed


class Unexpected(AssertionError):
    """The process has done something else than the story tells."""


def expect_stuck(process: Process, addresses: tuple[str, ...], reason: str | None) -> None:
    """Raises Unexpected."""
    stuck = process.stuck
    if set(stuck) != set(addresses):
        raise Unexpected(f"it is stuck at {dict(stuck)}, not at {addresses}")
    if reason is not None and reason not in stuck[addresses[0]]:
        raise Unexpected(f"it is stuck because {stuck[addresses[0]]!r}, not {reason!r}")


def expect_announced(last: Fed, phases: tuple[str, ...]) -> None:
    """Raises Unexpected."""
    found = tuple(sent.step for sent in last.sent if sent.kind == "lifecycle")
    if found != phases:
        raise Unexpected(f"announced were {found}, not {phases}")


def expect_kept(last: Fed, process: Process, types: tuple[str, ...]) -> None:
    """Raises Unexpected."""
    found = tuple(early.type for early in process.early)
    if last.decision.result != "buffered" or found != types:
        raise Unexpected(f"the last input was {last.decision.result}; kept are {found}, not {types}")


def expect_said(last: Fed, words: tuple[str, ...]) -> None:
    """Raises Unexpected."""
    notes = last.notes
    if not all(word in notes for word in words):
        raise Unexpected(f"the history does not say {words}, but {notes!r}")
