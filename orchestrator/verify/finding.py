"""What a rule reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One way in which a saga would go wrong. Every finding is an error: a saga with one is not run."""

    file: str
    line: int
    saga: str
    rule: str
    """Kebab-case, stable: see docs/decisions/0051-verify-rules.md for the list."""
    message: str
    fix: str
    path: str
    """How the place is reached, e.g. `sequence > parallel > charge > undo refund`."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.saga}: {self.rule}: {self.message} ({self.path}). Fix: {self.fix}"
