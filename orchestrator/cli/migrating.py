"""Moves processes to another version, page by page: what each would come to, then the request, then its fate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from contracts.process import MigrationRequested
from orchestrator.cli.awaiting import POLL_SECONDS
from orchestrator.cli.failures import NotFound
from orchestrator.cli.output import say
from orchestrator.cli.ports import OperatorInbox, ProcessReader
from orchestrator.cli.story import explain
from orchestrator.engine.history import HistoryEntry
from orchestrator.engine.migration import NotMigratable, migrated
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process

Result = Literal["movable", "moved", "requested", "refused", "unanswered"]
ATTEMPTS_MAX = 3
"""A process that goes on between the look at it and the request is looked at again, so often."""
PROGRESS_EVERY = 500


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one process. `movable`: in a dry run; `requested`: nobody waited for what came of it."""

    process_id: str
    result: Result
    why: str | None = None


@dataclass(slots=True)
class Mover:
    """`wait_seconds`: how long a page of requests is waited for; 0: not at all. `new_ids` are those of the messages."""

    old: Plan
    new: Plan
    operator: str
    note: str
    wait_seconds: float
    new_ids: Iterator[str]
    fates: list[Fate] = field(default_factory=list)

    async def look(self, pages: AsyncIterator[Sequence[Process]]) -> None:
        """A dry run."""
        async for page in pages:
            for process in page:
                why = self._why_not(process)
                self._note(Fate(process.id, "movable" if why is None else "refused", why))

    async def move(self, pages: AsyncIterator[Sequence[Process]], inbox: OperatorInbox, reader: ProcessReader) -> None:
        async for page in pages:
            left: Sequence[Process] = page
            for attempt in range(ATTEMPTS_MAX):
                left = await self._once(left, inbox, reader, last=attempt + 1 == ATTEMPTS_MAX)

    def _why_not(self, process: Process) -> str | None:
        if (process.saga, process.version) != (self.old.saga.name, self.old.saga.version):
            return f"it is in version {process.version} of {process.saga}"
        try:
            migrated(self.old, self.new, process)
        except NotMigratable as error:
            return str(error)
        return None

    async def _once(
        self, page: Sequence[Process], inbox: OperatorInbox, reader: ProcessReader, *, last: bool
    ) -> list[Process]:
        """Returns those that had gone on meanwhile, as they are now."""
        asked: dict[str, Process] = {}
        for process in page:
            why = self._why_not(process)
            if why is None:
                asked[next(self.new_ids)] = process
            else:
                self._note(Fate(process.id, "refused", why))
        await asyncio.gather(*(inbox.append(self._request(one), message) for message, one in asked.items()))
        if self.wait_seconds == 0:
            for process in asked.values():
                self._note(Fate(process.id, "requested"))
            return []
        answers = await self._answers(asked, reader)
        stale = [] if last else [asked[one].id for one, entry in answers.items() if entry and entry.reason == "stale"]
        for message, entry in answers.items():
            if asked[message].id not in stale:
                self._note(_fate(asked[message].id, entry))
        again = [await reader.get(process_id) for process_id in stale]
        return [process for process in again if process is not None]

    def _request(self, process: Process) -> MigrationRequested:
        return MigrationRequested(
            process_id=process.id,
            from_version=process.version,
            to_version=self.new.saga.version,
            revision=process.revision,
            operator=self.operator,
            note=self.note,
        )

    async def _answers(self, asked: dict[str, Process], reader: ProcessReader) -> dict[str, HistoryEntry | None]:
        """By message id: the entry of the history that says what came of it; None: nothing in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.wait_seconds
        found: dict[str, HistoryEntry | None] = {}
        while True:
            for message, process in asked.items():
                if message not in found:
                    entries = await reader.history(process.id, process.history_length)
                    entry = next((one for one in entries if one.id == message), None)
                    if entry is not None:
                        found[message] = entry
            if len(found) == len(asked) or loop.time() >= deadline:
                return {message: found.get(message) for message in asked}
            await asyncio.sleep(POLL_SECONDS)

    def _note(self, fate: Fate) -> None:
        self.fates.append(fate)
        if len(self.fates) % PROGRESS_EVERY == 0:
            say(f"{len(self.fates):,} processes", style="dim")


def _fate(process_id: str, entry: HistoryEntry | None) -> Fate:
    if entry is None:
        return Fate(process_id, "unanswered", "the orchestrator has not taken it up in time; it stays in the log")
    if entry.result == "applied":
        return Fate(process_id, "moved")
    return Fate(process_id, "refused", "; ".join(entry.notes) or explain(entry.reason or ""))


async def named(reader: ProcessReader, process_ids: Sequence[str]) -> AsyncIterator[Sequence[Process]]:
    """The processes that were named, one page. Raises NotFound."""
    found = [await reader.get(process_id) for process_id in process_ids]
    missing = [name for name, process in zip(process_ids, found, strict=True) if process is None]
    if missing:
        raise NotFound(f"there is no process {', '.join(missing)}")
    yield [process for process in found if process is not None]
