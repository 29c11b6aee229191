"""`counterpoint versions`: which versions of sagas there are, which still run, and whether one may be dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from contracts.process import MigrationRequested
from contracts.record import IncomingRecord
from orchestrator.cli.failures import NotFound, Refused, Usage
from orchestrator.cli.migrate import migrate
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.session import Session, session_of
from orchestrator.engine.fingerprint import fingerprint
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.runtime.readmodel import VersionKey
from orchestrator.verify.versions import (
    Fingerprints,
    FingerprintsError,
    check_versions,
    read_fingerprints,
    record,
    write_fingerprints,
)

UNFINISHED = frozenset(("running", "compensating", "stuck"))
COUNT_SECONDS = 120.0
SCAN_SECONDS = 3_600.0
SCAN_MAX = 50_000_000
"""Records of the inbox that a check reads, unless more are allowed."""
PROGRESS_EVERY = 100_000
TYPE_HEADER = "ce_type"
SHOWN_DIGITS = 12
"""Of a fingerprint, in the table."""


class _Group(TyperGroup):
    """`versions [SAGA]` is `versions list [SAGA]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)


group = typer.Typer(
    cls=_Group,
    help="Versions of sagas: which still run, moving processes to a newer one, and whether one may be dropped.",
)


@group.command("list")
def list_versions(
    context: typer.Context,
    saga: Annotated[str | None, typer.Argument(metavar="[SAGA]", help="Only this saga's. Default: all.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Record the fingerprints of new versions; no stack.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --write: of changed versions too, which never ran anywhere.")
    ] = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """List versions: how many processes of each are there and still run, and whether it is as it was recorded.

    \b
    Examples:
      counterpoint versions
      counterpoint versions order-fulfilment --json
      counterpoint versions migrate order-fulfilment --from 1 --to 2 --all --dry-run
      counterpoint versions drop order-fulfilment 1 --check     may it be taken out of the build?
      counterpoint versions --write                             record the fingerprints of new versions
    """
    session = session_of(context, endpoints, as_json)
    if replace and not write:
        raise Usage("--replace goes with --write")
    if write:
        _write(session, replace)
        return
    rows = _rows(session, saga, _counts(session, saga))
    if not rows:
        names = ", ".join(sorted({one.name for one in session.around.sagas}))
        raise NotFound(f"there is no saga {saga}; there are {names}")
    if session.as_json:
        print_json(rows)
    else:
        screen().print(_table(rows))


group.command("migrate")(migrate)


@group.command("drop")
def drop(
    context: typer.Context,
    saga: Annotated[str, typer.Argument(metavar="SAGA", help="For example order-fulfilment")],
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1)],
    check: Annotated[bool, typer.Option("--check", help="Say whether it may be dropped; nothing is changed.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Read at most so many records of the inbox.")] = SCAN_MAX,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a version may be taken out of the build: no process of it is left, and no retained input is for it.

    A process that has ended counts until it has expired: a late success of one of its steps would still be undone, and
    only its own version says how.

    \b
    Examples:
      counterpoint versions drop order-fulfilment 1 --check
    """
    session = session_of(context, endpoints, as_json)
    if not check:
        raise Usage("a version is dropped by taking it out of all_sagas(); --check says whether that is safe")
    known = {one.version for one in session.around.sagas if one.name == saga}
    counts = _counts(session, saga)
    if version not in known and not any(key.version == version for key in counts):
        raise NotFound(f"there is no version {version} of {saga}")
    reasons, ended = _reasons(saga, version, known, counts)
    retained = None if reasons else _retained(session, saga, version, limit)
    if retained:
        reasons.append(f"{retained} inputs in the retained inbox start a process of it, or move one from or to it")
    if session.as_json:
        found = {"saga": saga, "version": version, "ended": ended, "retained_inputs": retained, "reasons": reasons}
        print_json({"droppable": not reasons, **found})
    if reasons:
        raise Refused(f"version {version} of {saga} cannot be dropped", tuple(reasons))
    if not session.as_json:
        screen().print(
            f"version {version} of {saga} may be dropped: no process is left, and no retained input is for it"
        )


def _reasons(saga: str, version: int, known: set[int], counts: Mapping[VersionKey, int]) -> tuple[list[str], int]:
    """Why not, as far as the read model knows; and how many ended processes are kept."""
    of_it = {key.phase: count for key, count in counts.items() if key.version == version}
    reasons = [f"{of_it[phase]} processes are {phase}" for phase in sorted(UNFINISHED & of_it.keys()) if of_it[phase]]
    if version == max(known, default=0):
        reasons.insert(0, f"it is the newest version of {saga}: new processes start in it")
    ended = sum(count for phase, count in of_it.items() if phase not in UNFINISHED)
    if ended:
        reasons.append(f"{ended} ended processes of it are kept: a late answer to one of them would need it")
    return reasons, ended


def _retained(session: Session, saga: str, version: int, limit: int) -> int:
    """Inputs in the retained inbox that are stamped with that version, or move a process from or to it. Raises Refused:
    there are too many to read."""
    endpoints = session.kafka()
    wanted = {(SAGA_HEADER, saga.encode()), (VERSION_HEADER, str(version).encode())}

    async def work() -> int:
        async with session.around.connections.retained(endpoints) as inbox:
            size, read, found = inbox.size(), 0, 0
            if size > limit:
                raise Refused(f"the inbox retains {size:,} records; --limit {size} reads them all")
            async for batch in inbox.batches():
                found += sum(wanted <= set(one.headers) or _moves(one, saga, version) for one in batch)
                if read // PROGRESS_EVERY != (read + len(batch)) // PROGRESS_EVERY:
                    say(f"{read + len(batch):,} of {size:,} records read", style="dim")
                read += len(batch)
            return found

    return session.run(work, SCAN_SECONDS)


def _moves(record: IncomingRecord, saga: str, version: int) -> bool:
    """It asks for a process to be moved from or to that version."""
    if (TYPE_HEADER, MigrationRequested.type.encode()) not in record.headers:
        return False
    if (record.key or b"").partition(b":")[0] != saga.encode():
        return False
    try:
        asked = MigrationRequested.model_validate_json(record.value or b"")
    except ValidationError:
        return False  # it will be ignored
    return version in (asked.from_version, asked.to_version)


def _counts(session: Session, saga: str | None) -> Mapping[VersionKey, int]:
    endpoints = session.redis()

    async def work() -> Mapping[VersionKey, int]:
        async with session.around.connections.processes(endpoints) as reader:
            return await reader.versions(None if saga is None else [saga])

    return session.run(work, COUNT_SECONDS)


def _rows(session: Session, saga: str | None, counts: Mapping[VersionKey, int]) -> list[dict[str, Any]]:
    built = {(one.name, one.version): one for one in session.around.sagas if saga in (None, one.name)}
    newest = {name: max(version for other, version in built if other == name) for name, _ in built}
    recorded = _recorded(session)
    rows = []
    for name, version in sorted({*built, *((key.saga, key.version) for key in counts)}):
        of_it = {key.phase: count for key, count in counts.items() if (key.saga, key.version) == (name, version)}
        here = built.get((name, version))
        print_of_it = None if here is None else fingerprint(here)
        known = recorded.get(name, {}).get(version)
        rows.append(
            {
                "saga": name,
                "version": version,
                "newest": newest.get(name) == version,
                "in_build": here is not None,
                "unfinished": sum(count for phase, count in of_it.items() if phase in UNFINISHED),
                "phases": dict(sorted(of_it.items())),
                "fingerprint": print_of_it or known,
                "record": "missing" if known is None else "same" if print_of_it in (None, known) else "changed",
            }
        )
    return rows


def _recorded(session: Session) -> Fingerprints:
    file = session.around.fingerprints
    try:
        return {} if file is None else read_fingerprints(file)
    except FingerprintsError as error:
        say(f"warning: {error}", style="yellow")
        return {}


def _write(session: Session, replace: bool) -> None:
    """Raises Usage, Refused."""
    file, sagas = session.around.fingerprints, session.around.sagas
    if file is None:
        raise Usage("this command line knows no fingerprints file")
    try:
        before: Fingerprints = read_fingerprints(file) if file.exists() else {}
    except FingerprintsError as error:
        raise Refused(str(error)) from None
    after = record(sagas, before, replace=replace)
    try:
        write_fingerprints(file, after)
    except OSError as error:
        raise Usage(f"{file} cannot be written: {error.strerror}") from None
    left = check_versions(sagas, after)
    if left:
        raise Refused("a recorded version has changed; nothing was written for it", tuple(str(one) for one in left))
    written = sum(
        before.get(name, {}).get(version) != hexadecimal
        for name, versions in after.items()
        for version, hexadecimal in versions.items()
    )
    if session.as_json:
        print_json({"file": str(file), "written": written})
    else:
        screen().print(f"{file.name}: {written} fingerprints written", markup=False)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("saga", "version", "still run", "kept", "fingerprint", "", box=None, pad_edge=False)
    for row in rows:
        words = [
            word for word, holds in (("newest", row["newest"]), ("not in this build", not row["in_build"])) if holds
        ]
        if row["record"] != "same":
            words.append("not recorded" if row["record"] == "missing" else "changed since it was recorded")
        kept = sum(row["phases"].values()) - row["unfinished"]
        digits = (row["fingerprint"] or "")[:SHOWN_DIGITS]
        style = "" if row["in_build"] and row["record"] == "same" else "red"
        table.add_row(
            row["saga"], str(row["version"]), str(row["unfinished"]), str(kept), digits, Text(", ".join(words), style)
        )
    return table
