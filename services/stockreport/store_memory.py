"""Levels in memory, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.stockreport.levels import Level


class MemoryLevels:
    def __init__(self) -> None:
        self._levels: dict[tuple[str, str], Level] = {}

    async def note(self, level: Level) -> bool:
        known = self._levels.get((level.sku, level.warehouse))
        if known is not None and known.revision >= level.revision:
            return False
        self._levels[(level.sku, level.warehouse)] = level
        return True

    async def levels(self) -> AsyncIterator[Level]:
        for level in tuple(self._levels.values()):
            yield level
