"""`counterpoint retry`, `skip`, `compensate`: what a person decides about a stuck process, sent through the inbox."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.process import OperatorAction
from orchestrator.cli.failures import Refused, StackAway, Usage
from orchestrator.cli.options import AsJson, EndpointsFile, ProcessId
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.ports import ProcessReader
from orchestrator.cli.processes import plan_of, read_process
from orchestrator.cli.repair_plan import Action, GivenOutcome, Wish, plan_action
from orchestrator.cli.session import Session, session_of
from orchestrator.cli.story import explain
from orchestrator.engine.history import HistoryEntry, entry_json
from orchestrator.engine.process import Process

POLL_SECONDS = 0.1
WAIT_SECONDS_MAX = 600.0

Step = Annotated[
    str | None, typer.Option(metavar="STEP", help="Where it is stuck; needed only if it is stuck at several places.")
]
Operator = Annotated[str | None, typer.Option(help="Who decides. Default: the user of this machine.")]
Note = Annotated[str | None, typer.Option(help="Why, for the history.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")]
Wait = Annotated[float, typer.Option("--wait", min=0, max=WAIT_SECONDS_MAX, help="Seconds to wait for the answer.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Come back as soon as the decision is in the log.")]


def retry(
    context: typer.Context,
    process_id: ProcessId,
    step: Step = None,
    note: Note = None,
    operator: Operator = None,
    yes: Yes = False,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Try the step (or the undo) where the process is stuck once more.

    \b
    Examples:
      counterpoint retry order-fulfilment:28023
      counterpoint retry order-fulfilment:28023 --step charge/undo --note "the provider is back"
    """
    session = session_of(context, endpoints, as_json)
    _decide(session, "retry", process_id, step, note, operator, None, yes=yes, wait=0 if no_wait else wait)


def skip(
    context: typer.Context,
    process_id: ProcessId,
    step: Step = None,
    outcome: Annotated[
        Path | None,
        typer.Option(
            "--outcome",
            metavar="FILE|-",
            allow_dash=True,
            help="The outcome that stands in for the step's own, as JSON.",
        ),
    ] = None,
    outcome_type: Annotated[
        str | None, typer.Option("--outcome-type", help="Its type, if the command has several outcomes.")
    ] = None,
    note: Note = None,
    operator: Operator = None,
    yes: Yes = False,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Go on without the step (or the undo) where the process is stuck.

    \b
    Examples:
      counterpoint skip order-fulfilment:28023 --step reserve/undo --note "released by hand"
      counterpoint skip order-fulfilment:28023 --outcome dispatched.json
    """
    session = session_of(context, endpoints, as_json)
    if outcome is None and outcome_type is not None:
        raise Usage("--outcome-type says what --outcome is; give both")
    given = None if outcome is None else GivenOutcome(_read_object(outcome), outcome_type)
    _decide(session, "skip", process_id, step, note, operator, given, yes=yes, wait=0 if no_wait else wait)


def compensate(
    context: typer.Context,
    process_id: ProcessId,
    note: Note = None,
    operator: Operator = None,
    yes: Yes = False,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Give the stuck process up: undo everything that it did (not past its point of no return).

    \b
    Examples:
      counterpoint compensate order-fulfilment:28023 --note "the customer has called it off"
    """
    session = session_of(context, endpoints, as_json)
    _decide(session, "compensate", process_id, None, note, operator, None, yes=yes, wait=0 if no_wait else wait)


def _decide(
    session: Session,
    action: Action,
    process_id: str,
    step: str | None,
    note: str | None,
    operator: str | None,
    outcome: GivenOutcome | None,
    *,
    yes: bool,
    wait: float,
) -> None:
    process, _ = read_process(session, process_id)
    plan = plan_of(session, process)
    if plan is None:
        raise Refused(f"this build has no version {process.version} of {process.saga}; use the build that runs it")
    message = plan_action(process, plan, Wish(action, step, operator or session.around.operator, note, outcome))
    _confirm(session, message, yes)
    entry = _append_and_wait(session, message, process, wait)
    _report(session, message, entry)


def _confirm(session: Session, message: OperatorAction, yes: bool) -> None:
    if yes or not session.around.interactive:
        return
    where = f" {message.step}, after try {message.try_number}," if message.step else ""
    if not typer.confirm(f"{message.action}{where} of {message.process_id}?", err=True):
        raise Refused("nothing was done")


def _append_and_wait(session: Session, message: OperatorAction, process: Process, wait: float) -> HistoryEntry | None:
    """None: it is in the log, and nobody waited for what comes of it."""
    endpoints = session.kafka()
    message_id = session.around.new_id()

    async def work() -> HistoryEntry | None:
        async with session.around.connections.inbox(endpoints) as inbox:
            await inbox.append(message, message_id)
        if wait == 0:
            return None
        async with session.around.connections.processes(endpoints) as reader:
            return await _outcome(reader, message_id, process, wait)

    return session.run(work, seconds=wait + 20)


async def _outcome(reader: ProcessReader, message_id: str, process: Process, wait: float) -> HistoryEntry:
    """Raises StackAway: nothing came of it in time."""
    loop = asyncio.get_running_loop()
    deadline, seen = loop.time() + wait, process.history_length
    while True:
        found, seen = _pick(await reader.history(process.id, seen), message_id, seen)
        if found is not None:
            return found
        if loop.time() >= deadline:
            raise StackAway(
                f"the orchestrator has not taken it up within {wait:g} s (does it run?); it stays in the log: see"
                f" counterpoint show {process.id}"
            )
        await asyncio.sleep(POLL_SECONDS)


def _pick(entries: Sequence[HistoryEntry], message_id: str, seen: int) -> tuple[HistoryEntry | None, int]:
    found = next((entry for entry in entries if entry.id == message_id), None)
    return found, seen + len(entries)


def _report(session: Session, message: OperatorAction, entry: HistoryEntry | None) -> None:
    result = None if entry is None else entry.result
    if session.as_json:
        print_json(
            {
                "process_id": message.process_id,
                "action": message.action,
                "step": message.step,
                "try": message.try_number,
                "revision": message.revision,
                "operator": message.operator,
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
        screen().print(f"{message.action} of {message.process_id} is in the log", markup=False, soft_wrap=True)
        return
    screen().print(f"applied; {message.process_id} is {entry.phase}", markup=False, soft_wrap=True)
    for note in entry.notes:
        say(f"  {note}", style="dim")


def _read_object(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        value = json.loads(text)
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Refused(f"the outcome is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused("the outcome must be a JSON object")
    return value
