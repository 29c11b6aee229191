"""Progress of the flows that play: bars on a terminal; elsewhere a line every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deploy.demo.flow import Flow, Standing

LINE_SECONDS = 3.0
"""Between two progress lines where there is no terminal to draw on."""
MIDWAY = 0.4
"""Share of the traffic that is published when a disturbance begins."""


class Board:
    """`midway` is set when enough is published for a disturbance to hurt, `published` when all is."""

    def __init__(self, console: Console, flows: Sequence[Flow]) -> None:
        self.midway = asyncio.Event()
        self.published = asyncio.Event()
        self.is_over = False
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._standings: dict[str, Standing] = {}
        self._expected = len(flows)
        self._tasks = {flow.name: self._rows(flow.name) for flow in flows}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def teller(self, name: str) -> Callable[[Standing], None]:
        """What the flow of this name calls."""
        return lambda standing: self._tell(name, standing)

    def over(self) -> None:
        """The flows have ended, or given up before all was published: nobody waits for them any more."""
        self.is_over = True
        self.midway.set()
        self.published.set()

    def _rows(self, name: str) -> tuple[TaskID, TaskID]:
        return (
            self._bars.add_task(f"{name} published", total=None, detail=""),
            self._bars.add_task(f"{name} ended", total=None, detail=""),
        )

    def _tell(self, name: str, standing: Standing) -> None:
        self._standings[name] = standing
        published, ended = self._tasks[name]
        self._bars.update(published, completed=standing.published, total=standing.to_publish)
        self._bars.update(ended, completed=standing.ended, total=standing.expected, detail=standing.detail)
        self._judge()
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            for one, its in self._standings.items():
                self._console.print(
                    f"  {one}: {its.published} of {its.to_publish} published, {its.ended} of {its.expected} ended"
                    + (f" ({its.detail})" if its.detail else "")
                )

    def _judge(self) -> None:
        if len(self._standings) < self._expected:
            return
        published = sum(one.published for one in self._standings.values())
        to_publish = sum(one.to_publish for one in self._standings.values())
        if published >= MIDWAY * to_publish:
            self.midway.set()
        if published >= to_publish:
            self.published.set()
