"""Faults planted in taking snapshots and restoring from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.runtime.mending import Mending
from orchestrator.runtime.snapshot_store import Uncovered
from orchestrator.runtime.snapshot_store_memory import MemorySnapshots

SNAPSHOT_PLANTS: dict[str, Callable[[], None]] = {}


def plant(function: Callable[[], None]) -> Callable[[], None]:
    SNAPSHOT_PLANTS[function.__name__] = function
    return function


@plant
def nothing_is_ahead() -> None:
    """A snapshot without its offset: inputs that the restored state has in it are folded once more."""

    async def ahead(self: Mending, number: int, position: int) -> dict[str, int]:
        return {}

    Mending.ahead = ahead  # type: ignore[method-assign]


@plant
def cut_over_a_lost_store() -> None:
    """That no process is uncovered is believed of a store that has lost everything."""
    inner = MemorySnapshots.uncovered

    async def uncovered(self: MemorySnapshots, shard: int, below: int, limit: int) -> Uncovered:
        return replace(await inner(self, shard, below, limit), next=below)

    MemorySnapshots.uncovered = uncovered  # type: ignore[method-assign]
