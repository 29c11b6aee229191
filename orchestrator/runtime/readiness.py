"""What `/readyz` answers: nothing while all is well, else every problem in one line. Written by the loops, read by a
thread."""

from __future__ import annotations

from collections.abc import Callable

SHOWN_MAX = 8
"""Problems that are spelled out; of the rest only the number is given."""

Source = Callable[[], str | None]


class Readiness:
    """Named problems, and sources that are asked each time."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}
        self._sources: list[Source] = []

    def watch(self, source: Source) -> None:
        """Ask `source` with every answer."""
        self._sources.append(source)

    def set(self, name: str, problem: str | None) -> None:
        """State (None: withdraw) a problem."""
        if problem is None:
            self._problems.pop(name, None)
        else:
            self._problems[name] = problem

    def problem(self) -> str | None:
        """All that is not well, in one line."""
        found = [text for text in (source() for source in self._sources) if text]
        found.extend(dict(self._problems).values())
        if not found:
            return None
        more = f" (and {len(found) - SHOWN_MAX} more)" if len(found) > SHOWN_MAX else ""
        return "; ".join(found[:SHOWN_MAX]) + more
