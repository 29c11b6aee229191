"""What a fault is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deploy.chaos.scene import Incident, Scene

Inject = Callable[[Scene, Incident], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `inject` does the damage, waits, and puts everything back; the load goes on meanwhile.

    `missing`: why it cannot be run on this machine, in one sentence; None: it can be run.
    `spoils`: the scene cannot be used after it.
    """

    name: str
    family: str
    title: str
    inject: Inject
    missing: Callable[[], str | None] = lambda: None
    spoils: bool = False
