"""`counterpoint signal`, `approve`, `reject`, `cancel`: what a person says to a process that is not stuck."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel, ValidationError

from contracts.process import ApprovalGiven, CancelRequested, SignalSent
from orchestrator.cli.awaiting import append_and_wait, report
from orchestrator.cli.failures import NotFound, Refused
from orchestrator.cli.options import AsJson, EndpointsFile, ProcessId
from orchestrator.cli.processes import plan_of, read_process
from orchestrator.cli.repair import Note, NoWait, Operator, Wait, Yes, confirm, read_object
from orchestrator.cli.repair_plan import field_errors
from orchestrator.cli.session import Session, session_of
from orchestrator.engine.approvals import read_form
from orchestrator.engine.book import SagaBook
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.waiting import Approval, Signal, WaitFor

Form = Annotated[
    Path | None, typer.Option("--form", metavar="FILE|-", allow_dash=True, help="The form filled in, as JSON.")
]
StepPath = Annotated[str, typer.Argument(metavar="STEP", help="The approval's name.")]


def signal(
    context: typer.Context,
    process_id: ProcessId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE|-]", allow_dash=True, help="What it says, as JSON.")
    ] = None,
    operator: Operator = None,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell a process something that it waits for, or will: also before it has started.

    \b
    Examples:
      counterpoint signal restock:e7 goods-arrived goods.json
      echo '{"by": "ann"}' | counterpoint signal restock:e7 released -
    """
    session = session_of(context, endpoints, as_json)
    process, plan = _known(session, process_id)
    payload: dict[str, Any] = {} if file is None else read_object(file, "the signal")
    _check_signal(plan, name, payload)
    sender = operator or session.around.operator
    message = SignalSent(process_id=process_id, signal=name, payload=payload, sender=sender)
    seen = 0 if process is None else process.history_length
    stamp = (plan.saga.name, plan.saga.version)
    entry = append_and_wait(session, message, seen, 0 if no_wait else wait, stamp)
    said: dict[str, object] = {"process_id": process_id, "signal": name, "sender": sender}
    report(session, said, f"signal {name}", process_id, entry)


def _known(session: Session, process_id: str) -> tuple[Process | None, Plan]:
    """The process, if it has started, and its definition; else the newest one of its saga. Raises Refused, NotFound."""
    try:
        process, _ = read_process(session, process_id)
    except NotFound:
        saga = process_id.partition(":")[0]
        for plan in SagaBook(session.around.sagas, session.around.catalog).newest():
            if plan.saga.name == saga and ":" in process_id:
                return None, plan
        raise
    return process, _plan(session, process)


def _plan(session: Session, process: Process) -> Plan:
    plan = plan_of(session, process)
    if plan is None:
        raise Refused(f"this build has no version {process.version} of {process.saga}; use the build that runs it")
    return plan


def _check_signal(plan: Plan, name: str, payload: dict[str, Any]) -> None:
    known: dict[str, type[BaseModel]] = {}
    for node in plan.nodes:
        if isinstance(node.block, WaitFor) and issubclass(node.block.wants, Signal):
            known[node.block.wants.signal] = node.block.wants
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise Refused(f"{plan.saga.name} waits for no signal {name}; it knows: {names}")
    try:
        known[name].model_validate(payload)
    except ValidationError as error:
        raise Refused(f"that is no valid {name}", field_errors(error)) from None


def approve(
    context: typer.Context,
    process_id: ProcessId,
    step: StepPath,
    form: Form = None,
    operator: Operator = None,
    yes: Yes = False,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Approve what a process waits for.

    \b
    Examples:
      counterpoint approve onboarding:a17 review --form review.json
    """
    session = session_of(context, endpoints, as_json)
    _decide(session, "approve", process_id, step, form, operator, yes=yes, wait=0 if no_wait else wait)


def reject(
    context: typer.Context,
    process_id: ProcessId,
    step: StepPath,
    form: Form = None,
    operator: Operator = None,
    yes: Yes = False,
    wait: Wait = 10.0,
    no_wait: NoWait = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Reject what a process asks a person to approve: the step has failed.

    \b
    Examples:
      counterpoint reject onboarding:a17 review
    """
    session = session_of(context, endpoints, as_json)
    _decide(session, "reject", process_id, step, form, operator, yes=yes, wait=0 if no_wait else wait)


def _decide(
    session: Session,
    decision: Literal["approve", "reject"],
    process_id: str,
    step: str,
    form: Path | None,
    operator: str | None,
    *,
    yes: bool,
    wait: float,
) -> None:
    process, _ = read_process(session, process_id)
    given = None if form is None else read_object(form, "the form")
    by = operator or session.around.operator
    message = ApprovalGiven(process_id=process_id, step=step, decision=decision, form=given, by=by)
    _check_approval(process, _plan(session, process), message)
    confirm(session, f"{decision} {step} of {process_id}?", yes)
    entry = append_and_wait(session, message, process.history_length, wait)
    said: dict[str, object] = {"process_id": process_id, "decision": decision, "step": step, "by": by}
    report(session, said, f"{decision} {step}", process_id, entry)


def _check_approval(process: Process, plan: Plan, message: ApprovalGiven) -> None:
    """Raises Refused: the engine would ignore it, as things are."""
    node = plan.find(message.step)
    if node is None or not isinstance(node.block, Approval):
        names = ", ".join(one.name for one in plan.nodes if isinstance(one.block, Approval)) or "none"
        raise Refused(f"{plan.saga.name} has no approval {message.step}; it has: {names}")
    state = process.steps.get(message.step)
    if message.step not in process.stuck and (state is None or state.status != "waiting"):
        raise Refused(f"{process.id} does not wait for {message.step}")
    if message.decision == "approve" or message.form is not None:
        wrong = read_form(node.block, message)
        if isinstance(wrong, str):
            raise Refused("the form does not fit (give one with --form FILE)", tuple(wrong.splitlines()))


def cancel(
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
    """Call a process off: undo everything that it did (not past its point of no return).

    \b
    Examples:
      counterpoint cancel order-fulfilment:28023 --note "the customer has called it off"
    """
    session = session_of(context, endpoints, as_json)
    process, _ = read_process(session, process_id)
    if process.ended is not None or process.cause is not None:
        raise Refused(f"{process_id} is {process.phase}: there is nothing to call off")
    if process.past_pivot:
        raise Refused(f"{process_id} is past its point of no return: it can only go forward")
    confirm(session, f"cancel {process_id}?", yes)
    by = operator or session.around.operator
    message = CancelRequested(process_id=process_id, operator=by, note=note)
    entry = append_and_wait(session, message, process.history_length, 0 if no_wait else wait)
    report(session, {"process_id": process_id, "action": "cancel", "operator": by}, "cancel", process_id, entry)
