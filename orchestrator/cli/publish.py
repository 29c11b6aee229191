"""`counterpoint publish`: one message, or several as JSON Lines, onto its topic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.envelope import format_time
from orchestrator.cli.failures import Usage
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.ports import Appended
from orchestrator.cli.publishing import Attributes, Draft, draft, message_type, split_lines
from orchestrator.cli.session import Session, session_of

DEFAULT_SOURCE = "/counterpoint/cli"
STANDARD_INPUT = Path("-")

EXAMPLES = """
Publish a message: validated against its contract first; if a field is wrong, nothing is sent.

\b
Examples:
  counterpoint publish orders.placed.v1 order.json
  counterpoint publish orders.placed.v1 - --source /shop/web --id order-17 < order.json
  counterpoint publish orders.placed.v1 orders.jsonl --lines
"""


def publish(
    context: typer.Context,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="For example orders.placed.v1")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", allow_dash=True, help="The payload as JSON; - reads standard input.")
    ],
    source: Annotated[str, typer.Option(help="CloudEvents source: who says it.")] = DEFAULT_SOURCE,
    message_id: Annotated[
        str | None, typer.Option("--id", help="CloudEvents id; with the source, the message's identity. Default: new.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The Kafka key; must be the payload's first field.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="FILE holds several messages, one a line.")] = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    session = session_of(context, endpoints, as_json)
    kind = message_type(session.around.catalog, type_name)
    if lines and (message_id is not None or key is not None):
        raise Usage("--id and --key name one message; with --lines there may be several")
    payload = _read(file)
    payloads = split_lines(payload) if lines else (payload,)
    drafts = [
        draft(kind, one, Attributes(_id(session, message_id), source, session.around.now_ms(), key)) for one in payloads
    ]
    for dropped in sorted({name for one in drafts for name in one.dropped}):
        say(f"note: {dropped} is not in the contract of {kind.type} and was left out", style="yellow")
    _print(session, drafts, _send(session, drafts), lines)


def _id(session: Session, given: str | None) -> str:
    return session.around.new_id() if given is None else given


def _send(session: Session, drafts: list[Draft]) -> list[Appended]:
    endpoints = session.kafka()

    async def work() -> list[Appended]:
        async with session.around.connections.sender(endpoints) as sender:
            return list(await sender.send([one.record for one in drafts]))

    return session.run(work)


def _read(file: Path) -> bytes:
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from None


def _print(session: Session, drafts: list[Draft], appended: list[Appended], lines: bool) -> None:
    rows = [_row(one, where) for one, where in zip(drafts, appended, strict=True)]
    if session.as_json:
        print_json(rows if lines else rows[0])
        return
    for row in rows:
        screen().print(
            f"{row['type']} {row['key']} is at {row['topic']}, partition {row['partition']}, offset {row['offset']}"
            f" (id {row['id']}, source {row['source']})",
            markup=False,
            soft_wrap=True,
        )


def _row(one: Draft, where: Appended) -> dict[str, Any]:
    return {
        "type": one.type,
        "id": one.id,
        "source": one.source,
        "key": one.key,
        "topic": where.topic,
        "partition": where.partition,
        "offset": where.offset,
        "at": format_time(where.timestamp_ms),
    }
