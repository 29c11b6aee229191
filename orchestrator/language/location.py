"""Where a block was written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """Where in the source a block was written; findings of `verify` point there."""

    file: str
    line: int
