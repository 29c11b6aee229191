"""What a person may do about a stuck process, and the operator's message that says it. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from contracts.message import Command
from contracts.process import OperatorAction
from orchestrator.cli.failures import Refused
from orchestrator.engine.operator import CORRECTABLE, UNDO_SUFFIX, given_outcome, successes
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.blocks import Returns, Subsaga
from orchestrator.language.waiting import captured_as

Action = Literal["retry", "skip", "compensate"]


@dataclass(frozen=True, slots=True)
class GivenOutcome:
    """The outcome that stands in for a skipped step's own. `type`: None if the command has only one that fits."""

    payload: dict[str, Any]
    type: str | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator typed."""

    action: Action
    step: str | None
    operator: str
    note: str | None
    outcome: GivenOutcome | None
    correction: dict[str, Any] | None = None


def plan_action(process: Process, plan: Plan, wish: Wish) -> OperatorAction:
    """The message, naming the step, try and revision that were seen.

    Raises:
        Refused: the engine would ignore it, as things are.
    """
    if not process.stuck:
        raise Refused(f"{process.id} is {process.phase}, not stuck: there is nothing to decide")
    if wish.action == "compensate":
        address = None
        if process.past_pivot:
            raise Refused(f"{process.id} is past its point of no return: it can only go forward (retry or skip)")
    else:
        address = _address(process, wish.step)
        if wish.action == "retry" and wish.correction is None and _is_failed_child(process, plan, address):
            child = process.steps[address].child
            raise Refused(f"{address} has started {child}, which can be started only once: skip it, with its result")
    if wish.action == "skip":
        assert address is not None
        _check_skip(process, plan, address, wish.outcome)
    if wish.correction is not None:
        assert address is not None
        _check_correction(process, plan, address, wish.correction)
    return OperatorAction(
        process_id=process.id,
        action=wish.action,
        step=address,
        try_number=None if address is None else current_try(process, address),
        revision=process.revision,
        operator=wish.operator,
        note=wish.note,
        outcome_type=wish.outcome.type if wish.outcome else None,
        outcome=wish.outcome.payload if wish.outcome else None,
        correction=wish.correction,
    )


def _is_failed_child(process: Process, plan: Plan | None, address: str) -> bool:
    node, state = None if plan is None else plan.find(address), process.steps.get(address)
    return node is not None and isinstance(node.block, Subsaga) and state is not None and state.child is not None


def _address(process: Process, step: str | None) -> str:
    stuck = tuple(process.stuck)
    if step is None:
        if len(stuck) > 1:
            raise Refused(f"{process.id} is stuck at {', '.join(stuck)}: name one with --step")
        return stuck[0]
    for address in (step, f"{step}{UNDO_SUFFIX}"):
        if address in process.stuck:
            return address
    raise Refused(f"{process.id} is not stuck at {step}, but at {', '.join(stuck)}")


def current_try(process: Process, address: str) -> int:
    """The number of the last try (or undo attempt) at a stuck address; 0 if none was sent."""
    state = process.steps.get(address.removesuffix(UNDO_SUFFIX))
    if state is None:
        return 0
    if address.endswith(UNDO_SUFFIX):
        return max((number for job in state.undos for number in job.numbers), default=0)
    return len(state.tries)


def _check_skip(process: Process, plan: Plan, address: str, given: GivenOutcome | None) -> None:
    wanted = outcome_types(plan, address)
    if given is None:
        if wanted and needs_outcome(process, plan, address):
            raise Refused(
                f"a later step needs the outcome of {address}: give one ({' or '.join(wanted)}) with --outcome FILE"
            )
        return
    if not wanted:
        raise Refused(f"{address} has no outcome that could be given")
    allowed = _successes(plan, address)
    if given_outcome(allowed, given.type, given.payload) is None:
        raise Refused(f"the outcome is no valid {given.type or ' or '.join(wanted)}", _field_errors(allowed, given))


def _check_correction(process: Process, plan: Plan, address: str, payload: dict[str, Any]) -> None:
    node = plan.find(address)
    if node is None or node.makes is None or not issubclass(node.makes, Command):
        raise Refused(f"{address} has no payload that could be corrected")
    state = process.steps.get(address)
    if state is not None and (state.undoing or (state.tries and state.tries[-1].state not in CORRECTABLE)):
        raise Refused(f"{address} has not been answered: what was sent may still be done; retry it as it was")
    try:
        node.makes.model_validate(payload)
    except ValidationError as error:
        raise Refused(f"the correction is no valid {node.makes.type}", field_errors(error)) from None


def _field_errors(allowed: tuple[type[BaseModel], ...], given: GivenOutcome) -> tuple[str, ...]:
    for model in allowed:
        if given.type in (None, captured_as(model)):
            try:
                model.model_validate(given.payload)
            except ValidationError as error:
                return field_errors(error)
    return (f"it must be one of {', '.join(captured_as(model) for model in allowed)}",)


def field_errors(error: ValidationError) -> tuple[str, ...]:
    """One line for each field that does not fit."""
    return tuple(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


def outcome_types(plan: Plan, address: str) -> tuple[str, ...]:
    """The outcomes that may stand in for the step's own; none for an undo or an emit."""
    return tuple(captured_as(model) for model in _successes(plan, address))


def _successes(plan: Plan, address: str) -> tuple[type[BaseModel], ...]:
    node = plan.find(address)
    return () if node is None else successes(node)


def needs_outcome(process: Process, plan: Plan, address: str) -> bool:
    """Skipping the step makes the process go on to a builder that demands its outcome."""
    state = process.steps.get(address)
    node = plan.find(address)
    if node is None or (state is not None and state.undoing):
        return False
    return node.name in plan.demanded or isinstance(node.block, Returns)


def advise(process: Process, plan: Plan | None) -> tuple[str, ...]:
    """The commands that make sense now, as they are typed."""
    commands = []
    name = shlex.quote(process.id)
    for address in process.stuck:
        where = f" --step {shlex.quote(address)}" if len(process.stuck) > 1 else ""
        if not _is_failed_child(process, plan, address):
            commands.append(f"counterpoint retry {name}{where}")
        wanted = plan is not None and outcome_types(plan, address) and needs_outcome(process, plan, address)
        outcome = " --outcome FILE" if wanted else ""
        commands.append(f"counterpoint skip {name}{where}{outcome}")
    if process.stuck and not process.past_pivot:
        commands.append(f"counterpoint compensate {name}")
    return tuple(commands)
