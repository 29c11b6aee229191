"""What `counterpoint show` tells about a limiter: who holds its permits, and who waits in which order."""

from __future__ import annotations

from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contracts.envelope import format_time
from orchestrator.cli.story_view import duration
from orchestrator.engine.limiter import LIMITER_PREFIX, requester_of
from orchestrator.engine.permits import address_of
from orchestrator.engine.process import Limiter, Process
from orchestrator.engine.waiting_line import length

SHOWN_MAX = 100
"""Who holds and who waits, of each so many."""


def limiter_json(process: Process) -> dict[str, Any]:
    """A limiter as `show --json` prints it. `next_at`, of a rate: when all that was given away will have flowed
    in again."""
    state, kind, name = _parts(process)
    told: dict[str, Any] = {"limiter": process.id, "kind": kind, "name": name}
    told["updated_at"] = format_time(process.updated_at_ms)
    if kind == "rate":
        return told | {"next_at": format_time(state.next_us // 1_000)}
    return told | {
        "count": state.count,
        "held": [
            {"process_id": requester_of(request), "of": address_of(request), "until": format_time(until_ms)}
            for request, until_ms in state.leases.items()
        ],
        "waiting": [
            {"process_id": requester_of(request), "of": address_of(request)}
            for piece in state.waiting
            for request in piece
        ],
    }


def print_limiter(console: Console, process: Process, now_ms: int) -> None:
    """For people; the lists are cut at SHOWN_MAX."""
    state, kind, name = _parts(process)
    console.print(Text.assemble((process.id, "bold"), f"   a {kind} that is named {name}"))
    if kind == "rate":
        ahead_ms = state.next_us // 1_000 - now_ms
        said = f"given away {duration(ahead_ms)} ahead" if ahead_ms > 0 else "nobody waits"
        console.print(Text(said, style="dim"))
        return
    waiting = length(state.waiting)
    console.print(Text(f"{len(state.leases)} of {state.count} held, {waiting} waiting", style="dim"))
    table = Table("", "process", "of", "free at the latest in", box=None, pad_edge=False)
    for request, until_ms in islice(state.leases.items(), SHOWN_MAX):
        span = duration(max(0, until_ms - now_ms))
        table.add_row("holds", Text(requester_of(request)), Text(address_of(request)), Text(span))
    line = (request for piece in state.waiting for request in piece)
    for number, request in enumerate(islice(line, SHOWN_MAX), 1):
        table.add_row(Text(f"waits, {number}."), Text(requester_of(request)), Text(address_of(request)), "")
    console.print(table)


def _parts(process: Process) -> tuple[Limiter, str, str]:
    """State, kind, name."""
    assert process.limiter is not None, "the caller has looked"
    kind, _, name = process.id.removeprefix(LIMITER_PREFIX).partition(":")
    return process.limiter, kind, name
