"""What a demo flow is: one business process or group of automations, played, watched and reconciled.

A flow is one module of `deploy/demo/flows` that ends in `FLOW = Flow(...)`. It publishes what its outsiders would
publish, waits until everything is at rest, and comes back with the lines that must hold. It starts and stops nothing:
whoever calls it has the stack up, and may be killing parts of it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.demo.reconciliation import Line
from operations.endpoints import Endpoints


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a flow is. `ended`: of the `expected` cases; `detail`: a few words, as `12 completed, 3 stuck`."""

    published: int
    to_publish: int
    ended: int
    expected: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a flow plays. `count`: cases (orders, signups, ...); `rate`: messages per second, 0 = all at once;
    `patience_s`: how much longer everything may take because parts are being killed; `calm` is set when nothing is
    being killed any more: before, nothing is at rest; `tell` may be called often."""

    endpoints: Endpoints
    data: Path
    count: int
    seed: int
    rate: float
    patience_s: float
    calm: asyncio.Event
    tell: Callable[[Standing], None]

    @property
    def sandbox(self) -> str:
        """The address of the outside world."""
        assert self.endpoints.sandbox is not None, "a local stack has one"
        return self.endpoints.sandbox


def _show_nothing(console: Console) -> None:
    del console


@dataclass(frozen=True, slots=True)
class Outcome:
    """`lines`: what must hold; `report`: the numbers, as JSON; `show` prints the flow's own tables and stories."""

    lines: tuple[Line, ...]
    report: Mapping[str, Any]
    show: Callable[[Console], None] = field(default=_show_nothing)


@dataclass(frozen=True, slots=True)
class Flow:
    """`cases`: the word for what is counted, in the plural; `parts`: what it needs of the local stack beside the
    infrastructure and the orchestrator; `count` and `rate` (cases per second): the defaults."""

    name: str
    cases: str
    parts: tuple[str, ...]
    count: int
    rate: float
    perform: Callable[[Scene], Coroutine[Any, Any, Outcome]]
