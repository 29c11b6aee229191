"""How far a partition is done: offsets are committed only up to the contiguous prefix of what was received."""

from __future__ import annotations

from collections import OrderedDict


class Prefix:
    """Offsets need not be consecutive (transaction markers, compaction): what counts is the order of receipt."""

    def __init__(self, start: int) -> None:
        self._next = start
        self._open: OrderedDict[int, None] = OrderedDict()

    @property
    def next(self) -> int:
        """The lowest offset not done yet: every offset received below it is done."""
        return next(iter(self._open)) if self._open else self._next

    @property
    def open(self) -> int:
        """How many are received and not done."""
        return len(self._open)

    def receive(self, offset: int) -> bool:
        """False for an offset that was received before (it is ignored)."""
        if offset < self._next:
            return False
        self._open[offset] = None
        self._next = offset + 1
        return True

    def done(self, offset: int) -> None:
        """In any order; repeating it is harmless."""
        self._open.pop(offset, None)


class Progress:
    """One partition in one owner's hands: what is stored in the inbox, and what is published and acknowledged."""

    def __init__(self, start: int) -> None:
        self.stored = Prefix(start)
        self.acked = Prefix(start)
        self.written = start
        """The next offset as the inbox has it."""
        self.committed = start
        """The next offset as the group has it, as far as we know."""

    def receive(self, offset: int) -> bool:
        return self.acked.receive(offset) and self.stored.receive(offset)

    def done(self, offset: int) -> None:
        self.stored.done(offset)
        self.acked.done(offset)
