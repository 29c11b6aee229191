"""`counterpoint versions migrate`: moves waiting processes to a newer version of their saga."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.failures import NotFound, Refused, StackAway, Usage
from orchestrator.cli.migrating import Fate, Mover, named
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, screen
from orchestrator.cli.repair import NoWait, Operator, Wait, Yes, confirm, of_bounded_length
from orchestrator.cli.session import Session, session_of
from orchestrator.engine.book import SagaBook, UnknownVersion

MIGRATE_SECONDS = 24 * 3_600.0
"""Of a whole run; each page of processes has its own, shorter patience (--wait)."""
STYLES = {"moved": "green", "movable": "green", "requested": "", "refused": "red", "unanswered": "yellow"}


def migrate(
    context: typer.Context,
    saga: Annotated[str, typer.Argument(metavar="SAGA", help="For example order-fulfilment")],
    from_version: Annotated[int, typer.Option("--from", min=1, metavar="VERSION", help="Where they are.")],
    to_version: Annotated[int, typer.Option("--to", min=1, metavar="VERSION", help="Where they are moved.")],
    processes: Annotated[
        list[str] | None, typer.Argument(metavar="[PROCESS]...", help="Ids of processes; or --all.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every process of that version that has not ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what can be moved; nothing is changed.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why, for the histories.", callback=of_bounded_length)
    ] = None,
    operator: Operator = None,
    yes: Yes = False,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Move waiting processes to a newer version, where everything that they have passed still exists.

    The newer version says `migrates=(Migration(from_version=...),)`. One that cannot be moved stays as it is, and is
    told with the reason. Exit code 0: all can be moved, or were; 1: some not; 4: the orchestrator does not answer.

    \b
    Examples:
      counterpoint versions migrate order-fulfilment --from 1 --to 2 --all --dry-run
      counterpoint versions migrate order-fulfilment --from 1 --to 2 --all --reason "the new carrier"
      counterpoint versions migrate order-fulfilment order-fulfilment:28023 --from 1 --to 2 --reason "by hand"
    """
    session = session_of(context, endpoints, as_json)
    if bool(processes) == every:
        raise Usage("name processes, or say --all")
    if not dry_run and not reason:
        raise Usage("--reason says why, for the histories; or --dry-run, which changes nothing")
    ids = (session.around.new_id() for _ in itertools.count())
    by = operator or session.around.operator
    mover = _mover(session, saga, from_version, to_version, by, reason or "", 0 if no_wait else wait, ids)
    if not dry_run:
        which = f"all processes of version {from_version} of {saga}" if every else ", ".join(processes or ())
        confirm(session, f"move {which} to version {to_version}?", yes)
    _run(session, mover, processes or (), every=every, dry_run=dry_run)
    _report(session, mover, dry_run=dry_run)


def _mover(
    session: Session, saga: str, older: int, newer: int, by: str, reason: str, wait: float, ids: Iterator[str]
) -> Mover:
    """Raises NotFound, Usage."""
    if newer <= older:
        raise Usage(f"a process is moved to a newer version, not from {older} to {newer}")
    book = SagaBook(session.around.sagas, session.around.catalog)
    try:
        old, new = book.plan(saga, older), book.plan(saga, newer)
    except UnknownVersion as error:
        raise NotFound(f"there is no version {error.version} of {saga} in this build") from None
    return Mover(old, new, by, reason, wait, ids)


def _run(session: Session, mover: Mover, processes: Sequence[str], *, every: bool, dry_run: bool) -> None:
    endpoints = session.redis() if dry_run else session.kafka()
    around, saga = session.around, mover.old.saga

    async def work() -> None:
        async with around.connections.processes(endpoints) as reader:
            pages = reader.unfinished(saga.name, saga.version) if every else named(reader, processes)
            if dry_run:
                await mover.look(pages)
                return
            async with around.connections.inbox(endpoints) as inbox:
                await mover.move(pages, inbox, reader)

    session.run(work, MIGRATE_SECONDS)


def _report(session: Session, mover: Mover, *, dry_run: bool) -> None:
    """Raises Refused: some were not moved; StackAway: of some it is not known."""
    counts = Counter(fate.result for fate in mover.fates)
    saga, older, newer = mover.old.saga.name, mover.old.saga.version, mover.new.saga.version
    if session.as_json:
        fates = [{"process_id": one.process_id, "result": one.result, "why": one.why} for one in mover.fates]
        counted = dict(sorted(counts.items()))
        what = {"saga": saga, "from": older, "to": newer, "dry_run": dry_run}
        print_json({**what, "counts": counted, "processes": fates})
    else:
        for fate in mover.fates:
            screen().print(_line(fate), soft_wrap=True)
        said = ", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "nothing to move"
        screen().print(f"version {older} to {newer} of {saga}: {said}", markup=False, soft_wrap=True)
    if counts["refused"]:
        raise Refused(f"{counts['refused']} of {len(mover.fates)} cannot be moved; they stay in version {older}")
    if counts["unanswered"]:
        raise StackAway(f"of {counts['unanswered']} nothing was heard in time (does the orchestrator run?)")


def _line(fate: Fate) -> Text:
    why = f": {fate.why}" if fate.why else ""
    return Text.assemble(fate.process_id, "  ", (fate.result, STYLES[fate.result]), why)
