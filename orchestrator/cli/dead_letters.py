"""`counterpoint dead-letters list`, `show` and `replay`. Reading leaves no trace: no consumer group, no commit."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from contracts.record import IncomingRecord
from orchestrator.cli.failures import NotFound, Refused, Usage
from orchestrator.cli.letters import (
    Filter,
    Letter,
    full_json,
    letter_json,
    newest_first,
    original_headers,
    parse_address,
    parse_moment,
    read_letter,
    readable,
    replay_of,
)
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.repair import Yes, confirm
from orchestrator.cli.session import Session, session_of

LIMIT_DEFAULT = 50
LIMIT_MAX = 10_000
SCAN_MAX = 2_000
"""Records looked at per partition when a filter is given."""

Service = Annotated[str | None, typer.Option(help="Only what this service gave up, or `orchestrator`.")]
Reason = Annotated[str | None, typer.Option(help="For example contract-violation.")]
TypeName = Annotated[str | None, typer.Option("--type", help="Only this message type.")]
Key = Annotated[str | None, typer.Option(help="Only this Kafka key.")]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="Given up since then: 2h (ago), or 2026-01-01T00:00:00Z.")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Given up before then, written likewise.")]

group = typer.Typer(no_args_is_help=True, help="Records that could not be processed, kept as they came.")


@group.command("list")
def list_letters(
    context: typer.Context,
    service: Service = None,
    reason: Reason = None,
    type_name: TypeName = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many, the newest first.")
    ] = LIMIT_DEFAULT,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first.

    \b
    Examples:
      counterpoint dead-letters list
      counterpoint dead-letters list --service payment --reason contract-violation --json
    """
    session = session_of(context, endpoints, as_json)
    wanted = filter_of(session, service, reason, type_name, key, since, until)
    per_partition = limit if wanted == Filter() else max(limit, SCAN_MAX)
    where = session.kafka()

    async def work() -> list[Letter]:
        async with session.around.connections.letters(where) as box:
            return newest_first(await box.newest(per_partition), wanted, limit)

    letters = session.run(work)
    if session.as_json:
        print_json([letter_json(letter) for letter in letters])
    elif not letters:
        say("there is no such dead letter")
    else:
        screen().print(_table(letters))
        say("counterpoint dead-letters show ADDRESS prints one in full", style="dim")


def filter_of(
    session: Session,
    service: str | None,
    reason: str | None,
    type_name: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    """Raises Usage."""
    now_ms = session.around.now_ms()
    moments = [None if text is None else parse_moment(text, now_ms) for text in (since, until)]
    return Filter(service, reason, type_name, key, *moments)


@group.command("replay")
def replay(
    context: typer.Context,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS]...", help="Which, as `list` shows them; or a filter.")
    ] = None,
    service: Service = None,
    reason: Reason = None,
    type_name: TypeName = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int, typer.Option(min=1, max=LIMIT_MAX, help="With more than so many that fit, nothing is replayed.")
    ] = LIMIT_DEFAULT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would be replayed.")] = False,
    yes: Yes = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Give dead letters back to the service that gave them up, the oldest first. A letter stays where it is.

    What was given up without a trace of execution is executed; a command that was answered is answered again.

    \b
    Examples:
      counterpoint dead-letters replay payment.dead-letters-3-17
      counterpoint dead-letters replay --service stock-report --reason handler-failed --since 2h --dry-run
    """
    session = session_of(context, endpoints, as_json)
    wanted = filter_of(session, service, reason, type_name, key, since, until)
    if bool(addresses) == (wanted != Filter()):
        raise Usage("name letters by their ADDRESS, or those that a filter takes: one of the two")
    letters = chosen(session, [parse_address(one) for one in addresses or ()], wanted, limit)
    if letters and not dry_run:
        confirm(session, f"replay {len(letters)} dead letter(s)?", yes)
        send_replays(session, letters)
    if session.as_json:
        print_json({"dry_run": dry_run, "replayed": [letter_json(letter) for letter in letters]})
    elif not letters:
        say("there is no such dead letter")
    else:
        screen().print(_table(letters))
        say(f"{len(letters)} would be replayed" if dry_run else f"{len(letters)} replayed", style="dim")


def chosen(session: Session, places: list[tuple[str, int, int]], wanted: Filter, limit: int) -> list[Letter]:
    """Oldest first. Raises NotFound: one that is named is not there. Refused: the filter takes more than `limit`."""
    where = session.kafka()

    async def work() -> list[Letter]:
        async with session.around.connections.letters(where) as box:
            if not places:
                return newest_first(await box.newest(max(limit + 1, SCAN_MAX)), wanted, limit + 1)
            found = [(place, await box.one(*place)) for place in dict.fromkeys(places)]
            missing = ["-".join(map(str, place)) for place, record in found if record is None]
            if missing:
                raise NotFound(f"there is no dead letter {', '.join(missing)}; nothing was replayed")
            return newest_first([record for _, record in found if record is not None], Filter(), len(found))

    letters = session.run(work)
    if not places and len(letters) > limit:
        raise Refused(f"more than {limit} dead letters fit; nothing was replayed: narrow the filter, or raise --limit")
    return letters[::-1]


def send_replays(session: Session, letters: list[Letter]) -> None:
    where = session.kafka()

    async def work() -> None:
        async with session.around.connections.sender(where) as sender:
            await sender.send([replay_of(letter) for letter in letters])

    session.run(work)


@group.command("show")
def show_letter(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="topic-partition-offset, as `list` shows it.")],
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Print one dead letter: why it was given up, and the original headers and value.

    \b
    Examples:
      counterpoint dead-letters show payment.dead-letters-3-17
    """
    session = session_of(context, endpoints, as_json)
    place = parse_address(address)
    where = session.kafka()

    async def work() -> IncomingRecord | None:
        async with session.around.connections.letters(where) as box:
            return await box.one(*place)

    record = session.run(work)
    if record is None:
        raise NotFound(f"there is no dead letter {address}")
    if session.as_json:
        print_json(full_json(read_letter(record)))
    else:
        _print(read_letter(record))


def _table(letters: list[Letter]) -> Table:
    table = Table("at", "reason", "type", "key", "service", "address", box=None, pad_edge=False)
    for letter in letters:
        table.add_row(
            Text(letter.at),
            Text(letter.reason, style="red"),
            Text(letter.type or "-"),
            Text(letter.key if letter.key is not None else "-"),
            Text(letter.service),
            Text(letter.address, no_wrap=True),
        )
    return table


def _print(letter: Letter) -> None:
    console = screen()
    console.print(Text.assemble((letter.address, "bold"), "  given up by ", letter.service, f" at {letter.at}"))
    console.print(Text.assemble((letter.reason, "red"), f": {letter.detail}"), soft_wrap=True)
    console.print(Text(f"it was {letter.origin}, key {letter.key}", style="dim"), soft_wrap=True)
    console.print()
    for name, text in original_headers(letter.record.headers):
        console.print(Text.assemble((f"{name}: ", "dim"), text), soft_wrap=True)
    console.print()
    value, encoding = readable(letter.record.value or b"")
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if encoding == "json" else value
    if encoding == "base64":
        console.print(Text("(not text; base64)", style="dim"))
    console.print(Text(text), soft_wrap=True)
