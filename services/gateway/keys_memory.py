"""The memory of keys in memory: for tests. `away` is a fault: while set, every call fails."""

from __future__ import annotations

from collections.abc import Callable

from services.gateway.keys import Entry
from services.sdk.failures import StoreAwayError


class MemoryKeys:
    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._entries: dict[str, tuple[int, Entry]] = {}
        self.away = False

    async def reserve(self, name: str, entry: Entry, keep_ms: int) -> Entry:
        self._reach()
        until, found = self._entries.get(name, (0, entry))
        if until > self._now_ms():
            return found
        self._entries[name] = (self._now_ms() + keep_ms, entry)
        return entry

    async def settle(self, name: str, entry: Entry, keep_ms: int) -> None:
        self._reach()
        self._entries[name] = (self._now_ms() + keep_ms, entry._replace(answered=True))

    def _reach(self) -> None:
        if self.away:
            raise StoreAwayError("the memory of keys plays away")
