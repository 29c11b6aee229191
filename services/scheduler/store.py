"""What the scheduler remembers, as a port. One store for all replicas: the services' Redis, a system of record.

Adapters: `store_redis`, `store_memory`; both pass `tests/scheduler/test_store.py`. Every method may raise
StoreAwayError, after which it is not known whether it was done: repeating it is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from services.scheduler.due import State

RUNS_MAX = 100
"""Runs that were asked for and not announced yet; no more are taken."""


class Lease(NamedTuple):
    """`fence` rises with every new holder. `changes`: how often people have changed something."""

    holder: str
    fence: int
    changes: int


class Move(NamedTuple):
    """A schedule's next position, if it is still at `expected_ms` (None: it is new)."""

    schedule_id: str
    expected_ms: int | None
    position_ms: int
    definition: str
    ticks: tuple[int, ...] = ()
    """Due times that have been announced."""


class Run(NamedTuple):
    """A person's wish that a schedule runs now."""

    schedule_id: str
    run_id: str
    at_ms: int


class Settled(StrEnum):
    DONE = "done"
    LOST = "lost"
    """The lease is another's by now. Nothing was written."""
    MOVED = "moved"
    """The position is not the one expected. Nothing was written."""


class Told(StrEnum):
    """What became of a person's word."""

    DONE = "done"
    UNKNOWN = "unknown"
    """No such schedule is declared."""
    NOTHING = "nothing"
    """It is so already."""
    FULL = "full"
    """RUNS_MAX wait already."""


class ScheduleStore(Protocol):
    async def check(self) -> Sequence[str]:
        """Warnings about settings that could not be checked. Raises StartRefused for one that would lose data."""
        ...

    async def hold(self, holder: str, lease_ms: int) -> Lease | None:
        """Take the lease if it is free, renew it if it is `holder`'s; None if it is another's."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it up, so that another need not wait. No effect if it is lost."""
        ...

    async def leader(self) -> str | None: ...

    async def declare(self, lease: Lease, declared: Mapping[str, Mapping[str, Any]]) -> bool:
        """Leave for the command line what is declared, in place of what was. False: the lease is lost."""
        ...

    async def declared(self) -> dict[str, dict[str, Any]]: ...

    async def states(self, ids: Sequence[str]) -> dict[str, State]:
        """Without those that are new."""
        ...

    async def settle(self, lease: Lease, moves: Sequence[Move]) -> list[Settled]:
        """Each on its own, in order."""
        ...

    async def pause(self, schedule_id: str, told: str) -> Told:
        """`told` is kept as the state's, here and below, if anything is done."""
        ...

    async def resume(self, schedule_id: str, at_ms: int, told: str) -> Told:
        """From `at_ms` on; what fell into the pause is not announced. Also brings back a schedule whose position is
        ahead of `at_ms`, after a clock that was wrong."""
        ...

    async def ask(self, run: Run, told: str) -> Told: ...

    async def runs(self) -> list[Run]:
        """Those not done, the oldest first."""
        ...

    async def done(self, runs: Sequence[Run]) -> None: ...
