"""`counterpoint audit`: is anything stranded? Judged on the running system; and the repair of what can be repaired."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from contracts.envelope import format_time
from orchestrator.cli.failures import Refused
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.ports import AuditAccess
from orchestrator.cli.repair import Yes, confirm
from orchestrator.cli.session import Session, session_of
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.audit import Finding
from orchestrator.runtime.audit_letters import starts_of
from orchestrator.runtime.audit_run import Audit, Audited, Repaired, repair
from orchestrator.runtime.auditor import Auditor, Pace
from orchestrator.verify.handlers import HandlersError, read_handlers

AUDIT_SECONDS = 3_600.0
"""No audit takes longer."""
SHOWN_MAX = 200
WATCH_SECONDS = 10.0
EXIT_STRANDED = 1
EXAMPLES = """
Say what cannot go on by itself, why, and which command frees it. Reads only, and may run at any time.

\b
Without --deep: states, timers, indexes, histories, offsets. With --deep also whether the commands that are awaited are
in their topics, and whether their answers were heard; dead letters that a process waits for, or that would have begun
one; and commands that a service has begun and never told the end of. Exit code 1: something is stranded, or damaged.

\b
Examples:
  counterpoint audit
  counterpoint audit --deep --json | jq -r '.findings[].process_id'
  counterpoint audit --repair
"""


def audit(
    context: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Follow awaited commands into the log, dead letters and services, too.")
    ] = False,
    mend: Annotated[
        bool,
        typer.Option("--repair", help="Do what frees them: derive timers and indexes again, fold again, send again."),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help=f"Again every {WATCH_SECONDS:g} s, until Ctrl-C.")] = False,
    yes: Yes = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Find what is stranded."""
    session = session_of(context, endpoints, as_json)
    session.redis()
    session.kafka()
    while True:
        audited, repaired = session.run(lambda: _work(session, deep, mend, yes), seconds=AUDIT_SECONDS)
        _show(session, audited, repaired)
        if not watch:
            raise typer.Exit(EXIT_STRANDED if audited.findings and repaired is None else 0)
        session.run(lambda: asyncio.sleep(WATCH_SECONDS), seconds=2 * WATCH_SECONDS)


async def _work(session: Session, deep: bool, mend: bool, yes: bool) -> tuple[Audited, Repaired | None]:
    connections, where = session.around.connections, session.endpoints()
    async with connections.audit(where) as access:
        audited = await _audit(session, access).run(deep=deep)
        if not mend or not audited.findings:
            return audited, None
        confirm(session, f"repair {len(audited.findings)} findings?", yes)
        async with connections.sender(where) as sender:
            return audited, await repair(audited, access.store, access.log, sender.send)


def _audit(session: Session, access: AuditAccess) -> Audit:
    try:
        known = read_handlers().known or ()
        services = {name: handler.service for handler in known for name in handler.handles}
    except HandlersError as error:
        raise Refused(str(error)) from None
    now_ms = session.around.now_ms
    auditor = Auditor(access.store, Pace(1, lambda: 0.0, asyncio.sleep), now_ms, asyncio.sleep)
    book = SagaBook(session.around.sagas)
    return Audit(
        access.store,
        access.shards,
        access.log,
        auditor,
        services,
        now_ms,
        asyncio.sleep,
        access.marks,
        starts_of(book),
    )


def _show(session: Session, audited: Audited, repaired: Repaired | None) -> None:
    at = format_time(audited.at_ms)
    if session.as_json:
        print_json(_json(audited, repaired, at))
        return
    if audited.findings:
        screen().print(_table(audited.findings))
    if len(audited.findings) > SHOWN_MAX:
        say(f"these are {SHOWN_MAX} of {len(audited.findings)}; --json shows all", style="dim")
    stranded = len(audited.stranded)
    others = sum(not one.strands for one in audited.findings)
    more = f"; {others} findings that strand nothing" if others else ""
    seen = "1 process" if audited.processes == 1 else f"{audited.processes:,} processes"
    typer.echo(f"{stranded} stranded as of {at} ({seen}{more})")
    for sentence in _told(repaired):
        say(sentence)


def _told(repaired: Repaired | None) -> list[str]:
    if repaired is None:
        return []
    said = [f"timers and indexes of {len(repaired.mended)} processes derived again"]
    said.append(f"{repaired.resent} commands sent again")
    if repaired.refolded:
        said.append(
            f"shards {_numbers(repaired.refolded)} are folded again by their engine; audit again when it is done"
        )
    if repaired.busy:
        said.append(f"shards {_numbers(repaired.busy)} are written to all the time: stop the engine, and repair again")
    if repaired.kept:
        said.append(f"shards {_numbers(repaired.kept)} were left: the inbox no longer holds all of their inputs")
    return said


def _numbers(shards: tuple[int, ...]) -> str:
    return ", ".join(map(str, shards))


def _table(findings: tuple[Finding, ...]) -> Table:
    table = Table("process", "finding", "why", "freed by", box=None, pad_edge=False)
    for one in findings[:SHOWN_MAX]:
        style = "red" if one.strands else "yellow"
        table.add_row(one.process_id or f"shard {one.shard}", f"[{style}]{one.code}[/]", one.why, one.frees)
    return table


def _json(audited: Audited, repaired: Repaired | None, at: str) -> dict[str, Any]:
    return {
        "as_of": at,
        "processes": audited.processes,
        "stranded": list(audited.stranded),
        "findings": [asdict(one) | {"strands": one.strands} for one in audited.findings],
        "repaired": None if repaired is None else asdict(repaired),
    }
