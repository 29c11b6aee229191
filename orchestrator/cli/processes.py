"""`counterpoint list` and `counterpoint show`."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer
from rich.table import Table
from rich.text import Text

from contracts.envelope import format_time
from contracts.process import Phase
from orchestrator.cli.failures import NotFound, Usage
from orchestrator.cli.limiters import limiter_json, print_limiter
from orchestrator.cli.options import AsJson, EndpointsFile, ProcessId, parse_duration
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.ports import ProcessReader
from orchestrator.cli.repair_plan import advise
from orchestrator.cli.session import Session, session_of
from orchestrator.cli.story import tell
from orchestrator.cli.story_view import PHASE_STYLES, duration, print_story
from orchestrator.engine.book import SagaBook, UnknownVersion
from orchestrator.engine.history import HistoryEntry, entry_json
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.runtime.ownership import RefusedShard
from orchestrator.runtime.readmodel import Query

LIMIT_DEFAULT = 50
LIMIT_MAX = 10_000
PHASES = get_args(Phase)


def list_processes(
    context: typer.Context,
    saga: Annotated[str | None, typer.Option(help="Only this saga's.")] = None,
    phase: Annotated[str | None, typer.Option(help=f"One of: {', '.join(PHASES)}.")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="SPAN", help="Not changed for so long: 90s, 5m, 2h, 1d.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many, the latest changed first.")] = (
        LIMIT_DEFAULT
    ),
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """List processes, the latest changed first.

    \b
    Examples:
      counterpoint list --phase stuck
      counterpoint list --saga order-fulfilment --phase running --older-than 5m
      counterpoint list --json | jq -r '.[].process_id'
    """
    session = session_of(context, endpoints, as_json)
    if phase is not None and phase not in PHASES:
        raise Usage(f"there is no phase {phase}; the phases are {', '.join(PHASES)}")
    span_ms = None if older_than is None else parse_duration(older_than)
    now_ms = session.around.now_ms()
    query = Query(saga, phase, None if span_ms is None else now_ms - span_ms, limit)  # type: ignore[arg-type]  # checked
    found, refused = _find(session, query)
    for shard in refused:
        say(f"warning: {shard.text}", style="red")
    if session.as_json:
        print_json([summary_json(process) for process in found])
        return
    if not found:
        say("no process fits")
        return
    screen().print(_table(found, now_ms))
    if len(found) == limit:
        say(f"these are the latest {limit}; --limit shows more", style="dim")


def show(
    context: typer.Context,
    process_id: ProcessId,
    full: Annotated[bool, typer.Option("--full", help="Bodies in full, over several lines.")] = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell the story of a process: every input and what it led to; of a limiter, who holds and who waits.

    \b
    Examples:
      counterpoint show order-fulfilment:28023
      counterpoint show limiter:rate:order-fulfilment.charge
      counterpoint show order-fulfilment:28023 --json | jq '.history[] | select(.result == "ignored")'
    """
    session = session_of(context, endpoints, as_json)
    process, history = read_process(session, process_id, limiters=True)
    if process.limiter is not None:
        if session.as_json:
            print_json(limiter_json(process))
        else:
            print_limiter(screen(), process, session.around.now_ms())
        return
    if session.as_json:
        print_json(summary_json(process) | {"history": [entry_json(entry) for entry in history]})
        return
    advice = advise(process, plan_of(session, process))
    print_story(screen(), tell(process, history, session.around.catalog, advice), session.around.now_ms(), full=full)
    if not full:
        say("bodies are shortened; --full shows them whole", style="dim")


def summary_json(process: Process) -> dict[str, Any]:
    """One process as `list --json` prints it."""
    return {
        "process_id": process.id,
        "saga": process.saga,
        "version": process.version,
        "phase": process.phase,
        "step": process.step,
        "reason": process.reason,
        "started_at": format_time(process.started_at_ms),
        "updated_at": format_time(process.updated_at_ms),
    } | _family_json(process)


def _family_json(process: Process) -> dict[str, Any]:
    """Who started it, and what it has started; nothing of a process that has no such kin."""
    found: dict[str, Any] = {}
    if process.parent is not None:
        parent = process.parent
        found["parent"] = {"process_id": parent.process, "step": parent.step, "released": parent.released}
    children = {name: step.child for name, step in process.steps.items() if step.child is not None}
    return found | ({"children": children} if children else {})


def read_process(session: Session, process_id: str, *, limiters: bool = False) -> tuple[Process, list[HistoryEntry]]:
    """`limiters`: those too. Raises NotFound, StackAway."""
    endpoints = session.redis()

    async def work() -> tuple[Process, list[HistoryEntry]]:
        async with session.around.connections.processes(endpoints) as reader:
            process = await require_process(reader, process_id, limiters=limiters)
            return process, list(await reader.history(process_id, 0))

    return session.run(work)


async def require_process(reader: ProcessReader, process_id: str, *, limiters: bool = False) -> Process:
    """Raises NotFound."""
    process = await reader.get(process_id)
    if process is None:
        hint = "" if ":" in process_id else "; a process id is <saga>:<business key>, such as order-fulfilment:28023"
        raise NotFound(f"there is no process {process_id}{hint}")
    if process.limiter is not None and not limiters:
        raise NotFound(f"{process_id} is a limiter, no process; counterpoint show tells about it")
    if process.phase == "early":
        kept = ", ".join(early.type for early in process.early) or "nothing any more"
        raise NotFound(f"{process_id} has not started; kept for it: {kept}")
    if process.phase == "expired":
        raise NotFound(f"{process_id} is {process.ended}, and expired at {format_time(process.updated_at_ms)}")
    return process


def plan_of(session: Session, process: Process) -> Plan | None:
    """The definition that the process runs by; None if this build lacks that version."""
    try:
        return SagaBook(session.around.sagas, session.around.catalog).plan(process.saga, process.version)
    except UnknownVersion:
        return None


def _find(session: Session, query: Query) -> tuple[list[Process], list[RefusedShard]]:
    endpoints = session.redis()

    async def work() -> tuple[list[Process], list[RefusedShard]]:
        async with session.around.connections.processes(endpoints) as reader:
            return list(await reader.find(query)), list(await reader.refused_shards())

    return session.run(work)


def _table(found: list[Process], now_ms: int) -> Table:
    table = Table("process", "phase", "step", "reason", "started", "unchanged for", box=None, pad_edge=False)
    for process in found:
        table.add_row(
            Text(process.id),
            Text(process.phase, style=PHASE_STYLES[process.phase]),
            Text(process.step or ""),
            Text(process.reason or ""),
            Text(format_time(process.started_at_ms)),
            Text(duration(max(0, now_ms - process.updated_at_ms))),
        )
    return table
