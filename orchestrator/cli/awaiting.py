"""What a person says is appended to the inbox; then its fate is awaited in the history of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.cli.failures import Refused, StackAway
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.ports import ProcessReader
from orchestrator.cli.session import Session
from orchestrator.cli.story import explain
from orchestrator.engine.history import HistoryEntry, entry_json
from orchestrator.runtime.inbox_writer import PersonsMessage, Stamp

POLL_SECONDS = 0.1


def append_and_wait(
    session: Session, message: PersonsMessage, seen: int, wait: float, stamp: Stamp | None = None
) -> HistoryEntry | None:
    """`seen`: entries of the history that are older. None: it is in the log, and nobody waited for what comes of it.

    Raises:
        StackAway: nothing came of it within `wait` seconds.
    """
    endpoints = session.kafka()
    message_id = session.around.new_id()

    async def work() -> HistoryEntry | None:
        async with session.around.connections.inbox(endpoints) as inbox:
            await inbox.append(message, message_id, stamp)
        if wait == 0:
            return None
        async with session.around.connections.processes(endpoints) as reader:
            return await _outcome(reader, message_id, message.process_id, seen, wait)

    return session.run(work, seconds=wait + 20)


async def _outcome(reader: ProcessReader, message_id: str, process_id: str, seen: int, wait: float) -> HistoryEntry:
    """Raises StackAway: nothing came of it in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        found, seen = _pick(await reader.history(process_id, seen), message_id, seen)
        if found is not None:
            return found
        if loop.time() >= deadline:
            raise StackAway(
                f"the orchestrator has not taken it up within {wait:g} s (does it run?); it stays in the log: see"
                f" counterpoint show {process_id}"
            )
        await asyncio.sleep(POLL_SECONDS)


def _pick(entries: Sequence[HistoryEntry], message_id: str, seen: int) -> tuple[HistoryEntry | None, int]:
    found = next((entry for entry in entries if entry.id == message_id), None)
    return found, seen + len(entries)


def report(session: Session, said: dict[str, object], what: str, process_id: str, entry: HistoryEntry | None) -> None:
    """What came of it. `said`: the fields of the JSON answer before it; `what`: for people, "retry".

    Raises:
        Refused: it was ignored.
    """
    result = None if entry is None else entry.result
    if session.as_json:
        print_json(
            {
                **said,
                "result": result or "appended",
                "reason": None if entry is None else entry.reason,
                "phase": None if entry is None else entry.phase,
                "entry": None if entry is None else entry_json(entry),
            }
        )
    if entry is not None and entry.result == "ignored":
        raise Refused(f"it was ignored, {explain(entry.reason or '')}")
    if session.as_json:
        return
    if entry is None:
        screen().print(f"{what} of {process_id} is in the log", markup=False, soft_wrap=True)
        return
    came = "kept for later" if entry.result == "buffered" else "applied"
    screen().print(f"{came}; {process_id} is {entry.phase}", markup=False, soft_wrap=True)
    for note in entry.notes:
        say(f"  {note}", style="dim")
