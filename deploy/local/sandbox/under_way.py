"""Requests that have arrived and are not done: what they may yet do, an undo must not be told that it is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.sandbox.provider import Covers


class UnderWay:
    """One entry a request, from its arrival to the commit of what it did. Used from the event loop alone."""

    def __init__(self) -> None:
        self._keys: Counter[tuple[str, str | None]] = Counter()
        self._references: Counter[tuple[str, str | None]] = Counter()

    @contextmanager
    def request(self, provider: str, key: str, reference: str | None) -> Iterator[None]:
        """While this lasts, the request may still have its effect."""
        self._keys[provider, key] += 1
        self._references[provider, reference] += 1
        try:
            yield
        finally:
            self._less(self._keys, (provider, key))
            self._less(self._references, (provider, reference))

    def any_of(self, provider: str, covers: Covers) -> bool:
        """Whether one of the requests that an undo covers is under way."""
        if covers.keys is None:
            return (provider, covers.reference) in self._references
        return any((provider, key) in self._keys for key in covers.keys)

    @staticmethod
    def _less(counts: Counter[tuple[str, str | None]], name: tuple[str, str | None]) -> None:
        counts[name] -= 1
        if not counts[name]:
            del counts[name]
