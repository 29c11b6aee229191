"""`counterpoint dead-letters list` and `show`. Reading leaves no trace: no consumer group, no commit."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from contracts.record import IncomingRecord
from orchestrator.cli.failures import NotFound
from orchestrator.cli.letters import (
    Filter,
    Letter,
    full_json,
    letter_json,
    newest_first,
    original_headers,
    parse_address,
    read_letter,
    readable,
)
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.session import session_of

LIMIT_DEFAULT = 50
LIMIT_MAX = 10_000
SCAN_MAX = 2_000
"""Records looked at per partition when a filter is given."""

group = typer.Typer(no_args_is_help=True, help="Records that could not be processed, kept as they came.")


@group.command("list")
def list_letters(
    context: typer.Context,
    service: Annotated[str | None, typer.Option(help="Only what this service gave up, or `orchestrator`.")] = None,
    reason: Annotated[str | None, typer.Option(help="For example contract-violation.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Only this message type.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this Kafka key.")] = None,
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
    wanted = Filter(service, reason, type_name, key)
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
