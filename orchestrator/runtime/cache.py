"""The processes that one shard's owner holds in memory: least recently used first out, never before its checkpoint."""

from __future__ import annotations

from collections import OrderedDict

from orchestrator.engine.process import Process

EVICTION_TRIES = 64
"""Pinned entries that one eviction steps over before it gives up: the cache may then stand above its limit until the
next checkpoint, and the engine's bound on unstored inputs bounds it in turn."""


class Entry:
    """`process` is the state after the last published input, `stored` the one in the store; None: no such process."""

    __slots__ = ("pins", "process", "stored")

    def __init__(self, stored: Process | None) -> None:
        self.process = stored
        self.stored = stored
        self.pins = 0
        """Checkpoints yet to be written that this entry is part of."""


class ProcessCache:
    """At most `limit` entries, but for those that are pinned."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, process_id: str) -> bool:
        return process_id in self._entries

    def add(self, process_id: str, stored: Process | None) -> None:
        """Put what the store has. An entry that is there already stays: it is newer."""
        if process_id not in self._entries:
            self._entries[process_id] = Entry(stored)

    def get(self, process_id: str) -> Entry:
        """The entry, which is then the most recently used. Raises KeyError: it must have been added."""
        self._entries.move_to_end(process_id)
        return self._entries[process_id]

    def shrink(self) -> None:
        """Back to the limit, as far as pins allow."""
        tries = EVICTION_TRIES
        while len(self._entries) > self._limit and tries > 0:
            process_id, entry = self._entries.popitem(last=False)
            if entry.pins:
                self._entries[process_id] = entry
                tries -= 1
