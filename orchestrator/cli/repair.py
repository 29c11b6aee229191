"""`counterpoint retry`, `skip`, `compensate`: what a person decides about a stuck process, sent through the inbox."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.process import NOTE_LENGTH_MAX, OperatorAction
from orchestrator.cli.awaiting import append_and_wait, report
from orchestrator.cli.failures import Refused, Usage
from orchestrator.cli.options import AsJson, EndpointsFile, ProcessId
from orchestrator.cli.processes import plan_of, read_process
from orchestrator.cli.repair_plan import GivenOutcome, Wish, plan_action
from orchestrator.cli.session import Session, session_of
from orchestrator.engine.history import HistoryEntry

WAIT_SECONDS_MAX = 600.0


def of_bounded_length(note: str | None) -> str | None:
    """Raises BadParameter (exit code 2) for a note that the inbox would not take."""
    if note is not None and len(note) > NOTE_LENGTH_MAX:
        raise typer.BadParameter(f"it has {len(note):,} characters; at most {NOTE_LENGTH_MAX:,} are kept")
    return note


Step = Annotated[
    str | None, typer.Option(metavar="STEP", help="Where it is stuck; needed only if it is stuck at several places.")
]
Operator = Annotated[str | None, typer.Option(help="Who decides. Default: the user of this machine.")]
Note = Annotated[str | None, typer.Option(help="Why, for the history.", callback=of_bounded_length)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")]
Wait = Annotated[float, typer.Option("--wait", min=0, max=WAIT_SECONDS_MAX, help="Seconds to wait for the answer.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Come back as soon as the decision is in the log.")]


def retry(
    context: typer.Context,
    process_id: ProcessId,
    step: Step = None,
    correct: Annotated[
        Path | None,
        typer.Option(
            "--correct",
            metavar="FILE|-",
            allow_dash=True,
            help="The command's whole payload, as JSON, instead of the one that was sent.",
        ),
    ] = None,
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
      counterpoint retry order-fulfilment:28023 --correct payload.json --note "the address was wrong"
    """
    session = session_of(context, endpoints, as_json)
    given = None if correct is None else read_object(correct, "the correction")
    wish = Wish("retry", step, operator or session.around.operator, note, None, given)
    _decide(session, process_id, wish, yes=yes, wait=0 if no_wait else wait)


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
    given = None if outcome is None else GivenOutcome(read_object(outcome, "the outcome"), outcome_type)
    wish = Wish("skip", step, operator or session.around.operator, note, given)
    _decide(session, process_id, wish, yes=yes, wait=0 if no_wait else wait)


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
    wish = Wish("compensate", None, operator or session.around.operator, note, None)
    _decide(session, process_id, wish, yes=yes, wait=0 if no_wait else wait)


def _decide(session: Session, process_id: str, wish: Wish, *, yes: bool, wait: float) -> None:
    process, _ = read_process(session, process_id)
    plan = plan_of(session, process)
    if plan is None:
        raise Refused(f"this build has no version {process.version} of {process.saga}; use the build that runs it")
    message = plan_action(process, plan, wish)
    where = f" {message.step}, after try {message.try_number}," if message.step else ""
    confirm(session, f"{message.action}{where} of {message.process_id}?", yes)
    entry = append_and_wait(session, message, process.history_length, wait)
    _report(session, message, entry)


def confirm(session: Session, question: str, yes: bool) -> None:
    """Ask back, if there is somebody to ask. Raises Refused."""
    if not yes and session.around.interactive and not typer.confirm(question, err=True):
        raise Refused("nothing was done")


def _report(session: Session, message: OperatorAction, entry: HistoryEntry | None) -> None:
    said: dict[str, object] = {
        "process_id": message.process_id,
        "action": message.action,
        "step": message.step,
        "try": message.try_number,
        "revision": message.revision,
        "operator": message.operator,
    }
    report(session, said, message.action, message.process_id, entry)


def read_object(file: Path, what: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        value = json.loads(text)
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Refused(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(f"{what} must be a JSON object")
    return value
