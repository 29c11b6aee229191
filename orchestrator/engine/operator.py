"""Inputs by which a person decides about a stuck process: retry, skip, compensate."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from contracts.message import Command
from contracts.process import CancelRequested, OperatorAction
from orchestrator.engine.blocks import choice, command, repeat, undo
from orchestrator.engine.decision import Reason
from orchestrator.engine.interpreter import TRANSITIONS
from orchestrator.engine.plan import Node, result_of
from orchestrator.engine.process import Cause, NodeState, Outcome, TryState
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import CommandStep, Emit, Returns, Subsaga
from orchestrator.language.flow import Repeat
from orchestrator.language.waiting import Approval, WaitFor, captured_as, yields_of

UNDO_SUFFIX = "/undo"
TRIES_MAX = 1_000
"""Tries of a step, and attempts of its undo, beyond which no person may ask for one more: each is kept in the state,
and a script that retries for ever must come to an end."""
CORRECTABLE: frozenset[TryState] = frozenset(("refused", "none", "unknown"))
"""How a last try was answered that a corrected one may follow: silence is no answer."""


def act(turn: Turn, action: OperatorAction) -> Reason | None:
    """Apply the action. A reason: it is ignored, and nothing has changed."""
    if action.revision != turn.before.revision:
        return "stale"
    if not turn.stuck:
        return "not-stuck"
    reason = _compensate(turn) if action.action == "compensate" else _repair(turn, action)
    if reason is None:
        what = "retry with a correction" if action.correction is not None else action.action
        _sign(turn, action.operator, what, action.note)
    return reason


def cancel(turn: Turn) -> Reason | None:
    """A person calls the process off."""
    try:
        asked = CancelRequested.model_validate_json(turn.item.data)
    except ValidationError:
        return "invalid-payload"
    reason = turn.call_off()
    if reason is None:
        _sign(turn, asked.operator, "cancellation", asked.note)
    return reason


def _sign(turn: Turn, operator: str, what: str, note: str | None) -> None:
    turn.notes.insert(0, f"{operator} asked for {what}{f' ({note})' if note else ''}")


def _compensate(turn: Turn) -> Reason | None:
    if turn.past_pivot:
        return "past-pivot"
    if turn.cause is None and turn.ended is None:
        turn.compensate(Cause(reason="operator"))
        return None
    tried = [_retry(turn, address) for address in list(turn.stuck)]
    return None if any(reason is None for reason in tried) else "nothing-to-retry"


def _repair(turn: Turn, action: OperatorAction) -> Reason | None:
    address = action.step
    if address is None:
        if len(turn.stuck) > 1:
            return "ambiguous-step"
        address = next(iter(turn.stuck))
    if address not in turn.stuck and f"{address}{UNDO_SUFFIX}" in turn.stuck:
        address = f"{address}{UNDO_SUFFIX}"
    if address not in turn.stuck:
        return "not-stuck"
    if action.try_number is not None and action.try_number != current_number(turn, address):
        return "stale"
    if action.action == "skip":
        return _skip(turn, address, action)
    return _retry(turn, address) if action.correction is None else _correct(turn, address, action.correction)


def current_number(turn: Turn, address: str) -> int:
    """The number of the last try (or undo attempt) at a stuck address; 0 if none was sent."""
    state = turn.step(_node(turn, address))
    if address.endswith(UNDO_SUFFIX):
        return max((number for job in state.undos for number in job.numbers), default=0)
    return len(state.tries)


def _node(turn: Turn, address: str) -> Node:
    node = turn.plan.find(address.removesuffix(UNDO_SUFFIX))
    assert node is not None, "what is stuck has a place in the saga"
    return node


def _retry(turn: Turn, address: str) -> Reason | None:
    node = _node(turn, address)
    if current_number(turn, address) >= TRIES_MAX:
        return "nothing-to-retry"
    if address.endswith(UNDO_SUFFIX):
        return None if undo.retry_stuck(turn, node) else "nothing-to-retry"
    if isinstance(node.block, Subsaga) and turn.step(node).status != "blocked":
        return "nothing-to-retry"  # its key names one process, and that has ended or is somebody else's
    if not isinstance(node.block, CommandStep):
        turn.unblock(address)
        if isinstance(node.block, Returns):
            return None  # it is asked again when the turn is at rest
        if isinstance(node.block, Repeat) and node.key in turn.nodes:
            repeat.judge_again(turn, node)
        else:
            TRANSITIONS[type(node.block)].start(turn, node)
        return None
    state = turn.step(node)
    if state.undoing and state.status != "perhaps":
        return "nothing-to-retry"  # what is being undone is never executed again
    turn.unblock(address)
    turn.change(node, budget=len(state.tries))
    if state.status == "perhaps" and (state.undoing or state.tries[-1].state == "silent"):
        command.wait_anew(turn, node)  # what is being undone is asked about again, and never executed again
    else:
        command.new_try(turn, node)
    return None


def _correct(turn: Turn, address: str, payload: dict[str, Any]) -> Reason | None:
    """A new try with another payload; only after an answer, so that nothing is asked for twice at once."""
    node = _node(turn, address)
    state = turn.step(node)
    if address.endswith(UNDO_SUFFIX) or not isinstance(node.block, CommandStep) or state.undoing:
        return "not-correctable"
    if len(state.tries) >= TRIES_MAX:
        return "nothing-to-retry"
    if state.tries and state.tries[-1].state not in CORRECTABLE:
        return "not-correctable"
    message = corrected(node, payload)
    if message is None:
        return "correction-invalid"
    turn.unblock(address)
    turn.change(node, budget=len(state.tries))
    command.try_with(turn, node, message.key, message.to_json())
    return None


def corrected(node: Node, payload: dict[str, Any]) -> Command | None:
    """The command with the payload that an operator gives, if it fits the contract."""
    assert node.makes is not None and issubclass(node.makes, Command)
    try:
        return node.makes.model_validate_json(msgspec.json.encode(payload))
    except ValidationError:
        return None


def _skip(turn: Turn, address: str, action: OperatorAction) -> Reason | None:
    node = _node(turn, address)
    if address.endswith(UNDO_SUFFIX):
        undo.skip_stuck(turn, node)
        return None
    if isinstance(node.block, Returns) and action.outcome is None:
        return "outcome-needed"
    if isinstance(node.block, WaitFor | Approval | Subsaga | Returns):
        return _skip_step(turn, node, action)
    if not isinstance(node.block, CommandStep):
        turn.unblock(address)
        if isinstance(node.block, Emit):
            turn.change(node, status="skipped")
        else:
            turn.nodes[node.key] = turn.nodes.get(node.key) or NodeState(status="done", count=choice.NONE)
            turn.change_node(node, status="done")
        turn.done(node)
        return None
    if turn.step(node).undoing:
        turn.unblock(address)
        turn.change(node, undone=True, record=None)
        turn.undone(node)
        return None
    return _skip_step(turn, node, action)


def _skip_step(turn: Turn, node: Node, action: OperatorAction) -> Reason | None:
    outcome = None
    if action.outcome is not None:
        outcome = given_outcome(successes(node), action.outcome_type, action.outcome)
        if outcome is None:
            return "outcome-invalid"
    elif node.name in turn.plan.demanded:
        return "outcome-needed"
    turn.unblock(node.key)
    turn.change(node, status="skipped", outcome=outcome, record=None)
    if not isinstance(node.block, Returns):
        turn.done(node)
    return None


def successes(node: Node) -> tuple[type[BaseModel], ...]:
    """What may stand in for the outcome of a skipped step."""
    if isinstance(node.block, WaitFor | Approval):
        captured = yields_of(node.block)
        return () if captured is None else (captured,)
    if isinstance(node.block, Subsaga):
        result = result_of(node.block.child)
        return () if result is None else (result,)
    if isinstance(node.block, Returns) and node.makes is not None:
        return (node.makes,)
    return node.makes.succeeds if node.makes is not None and issubclass(node.makes, Command) else ()


def given_outcome(
    allowed: tuple[type[BaseModel], ...], type_name: str | None, payload: dict[str, Any]
) -> Outcome | None:
    """The outcome that an operator gives, if it fits the contract of one of the step's successes."""
    for model in allowed:
        if type_name in (None, captured_as(model)):
            try:
                message = model.model_validate_json(msgspec.json.encode(payload))
            except ValidationError:
                continue
            data = message.model_dump_json(exclude_none=True).encode()
            return Outcome(type=captured_as(model), data=data, try_number=0)
    return None
