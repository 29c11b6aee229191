"""The commands of `python -m services.scheduler`. They work through the store: what they say, the leader does.

Exit codes: 0 done; 1 refused, or the file has mistakes; 2 the command line is wrong; 3 no such schedule; 4 the stack is
away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import structlog
import typer

from contracts.catalog import standard_catalog
from contracts.envelope import format_time
from operations.endpoints import EndpointsError
from services.scheduler.declarations import DeclarationsError, declared_json, read_declarations
from services.scheduler.listing import NEXT_MAX, coming, row_of
from services.scheduler.store import RUNS_MAX, Run, ScheduleStore, Told
from services.sdk.failures import StoreAwayError

EXIT_REFUSED, EXIT_UNKNOWN, EXIT_AWAY = 1, 3, 4
log = structlog.get_logger("services.scheduler")
T = TypeVar("T")

EndpointsFile = Annotated[
    Path | None, typer.Option("--endpoints", metavar="FILE", help="The stack's endpoints file; else .local's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output, and nothing else there.")]
ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


@dataclass(frozen=True, slots=True)
class Session:
    """What the commands need from outside. `open_store` raises EndpointsError."""

    open_store: Callable[[Path | None], AbstractAsyncContextManager[ScheduleStore]]
    now_ms: Callable[[], int]
    token: Callable[[], str]
    operator: str


def add_commands(app: typer.Typer) -> None:
    app.command("list")(list_schedules)
    app.command("next")(next_ticks)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("run-now")(run_now)
    app.command("check")(check)


def list_schedules(context: typer.Context, endpoints: EndpointsFile = None, as_json: AsJson = False) -> None:
    """All schedules that the leader has declared: their state, when they are due next, and when they were last."""
    session: Session = context.obj

    async def work(store: ScheduleStore) -> dict[str, Any]:
        declared = await store.declared()
        states = await store.states(list(declared))
        rows = [row_of(name, content, states.get(name), session.now_ms()) for name, content in declared.items()]
        return {"leader": await store.leader(), "schedules": rows}

    found = _through(session, endpoints, work)
    if as_json:
        _print_json(found)
        return
    line = "{:<32} {:<7} {:<25} {:<25} {}".format
    typer.echo(line("id", "state", "next", "last", "when"))
    for row in found["schedules"]:
        typer.echo(line(row["id"], row["state"], row["next"] or "-", row["last"] or "-", row["when"]))
    typer.echo(f"leader: {found['leader'] or 'none'}", err=True)


def next_ticks(
    context: typer.Context,
    schedule_id: ScheduleId,
    count: Annotated[int, typer.Option(min=1, max=NEXT_MAX, help="So many.")] = 5,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """When a schedule is due next, whether it is paused or not."""
    session: Session = context.obj

    async def work(store: ScheduleStore) -> list[dict[str, Any]] | None:
        content = (await store.declared()).get(schedule_id)
        return None if content is None else coming(schedule_id, content, session.now_ms(), count)

    found = _through(session, endpoints, work)
    if found is None:
        raise _failure(_unknown(schedule_id), EXIT_UNKNOWN)
    if as_json:
        _print_json(found)
        return
    for one in found:
        typer.echo(f"{one['due_at']}  {one['local']}")
    if not found:
        typer.echo(f"{schedule_id} is never due again", err=True)


def pause(
    context: typer.Context, schedule_id: ScheduleId, endpoints: EndpointsFile = None, as_json: AsJson = False
) -> None:
    """Announce nothing of a schedule until `resume`. What falls due meanwhile is not announced later."""
    _tell(context, "pause", schedule_id, endpoints, as_json, "is paused already")


def resume(
    context: typer.Context, schedule_id: ScheduleId, endpoints: EndpointsFile = None, as_json: AsJson = False
) -> None:
    """Announce a schedule again, from now on. Also after a clock that was wrong (state `ahead`)."""
    _tell(context, "resume", schedule_id, endpoints, as_json, "is not paused")


def run_now(
    context: typer.Context, schedule_id: ScheduleId, endpoints: EndpointsFile = None, as_json: AsJson = False
) -> None:
    """Announce a schedule once, now, besides its times; also if it is paused."""
    _tell(context, "run-now", schedule_id, endpoints, as_json, "")


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of schedules.")], as_json: AsJson = False
) -> None:
    """Read a file of schedules and name every mistake in it. Needs no stack."""
    try:
        schedules = read_declarations(file, standard_catalog())
    except DeclarationsError as error:
        if as_json:
            _print_json({"mistakes": list(error.mistakes)})
        for mistake in error.mistakes:
            typer.echo(mistake, err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    if as_json:
        _print_json({"schedules": [{"id": one.id, **declared_json(one)} for one in schedules]})
        return
    for one in schedules:
        typer.echo(f"{one.id}: {one.timing.text}, misfire {one.misfire}, publishes {one.event.type}")


def _tell(
    context: typer.Context, what: str, schedule_id: str, endpoints: Path | None, as_json: bool, already: str
) -> None:
    session: Session = context.obj
    at_ms = session.now_ms()
    words = f"{what} by {session.operator} at {format_time(at_ms)}"

    async def work(store: ScheduleStore) -> Told:
        if what == "pause":
            return await store.pause(schedule_id, words)
        if what == "resume":
            return await store.resume(schedule_id, at_ms, words)
        return await store.ask(Run(schedule_id, session.token(), at_ms), words)

    told = _through(session, endpoints, work)
    log.info("schedule", what=what, schedule=schedule_id, operator=session.operator, result=str(told))
    if told is Told.UNKNOWN:
        raise _failure(_unknown(schedule_id), EXIT_UNKNOWN)
    if told is Told.NOTHING:
        raise _failure(f"{schedule_id} {already}", EXIT_REFUSED)
    if told is Told.FULL:
        raise _failure(f"{RUNS_MAX} runs wait already; is there a leader? (`list` says)", EXIT_REFUSED)
    if as_json:
        _print_json({"schedule": schedule_id, "what": what, "at": format_time(at_ms), "by": session.operator})
    else:
        typer.echo(f"{schedule_id}: {what}")


def _through(session: Session, endpoints: Path | None, work: Callable[[ScheduleStore], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with session.open_store(endpoints) as store:
            return await work(store)

    try:
        return asyncio.run(opened())
    except (EndpointsError, StoreAwayError) as error:
        raise _failure(str(error), EXIT_AWAY) from None


def _unknown(schedule_id: str) -> str:
    return f"no schedule {schedule_id!r} is declared by the leader; `list` shows those that are"


def _failure(sentence: str, code: int) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(code)


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
