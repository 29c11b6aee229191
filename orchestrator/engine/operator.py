"""Inputs by which a person decides about a stuck process: retry, skip, compensate."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import ValidationError

from contracts.message import Command
from contracts.process import OperatorAction
from orchestrator.engine.blocks import choice, command, repeat, undo
from orchestrator.engine.decision import Reason
from orchestrator.engine.interpreter import TRANSITIONS
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Cause, NodeState, Outcome
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import CommandStep, Emit
from orchestrator.language.flow import Repeat

UNDO_SUFFIX = "/undo"


def act(turn: Turn, action: OperatorAction) -> Reason | None:
    """Apply the action. A reason: it is ignored, and nothing has changed."""
    if action.revision != turn.before.revision:
        return "stale"
    if not turn.stuck:
        return "not-stuck"
    reason = _compensate(turn) if action.action == "compensate" else _repair(turn, action)
    if reason is None:
        note = f" ({action.note})" if action.note else ""
        turn.notes.insert(0, f"{action.operator} asked for {action.action}{note}")
    return reason


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
    return _retry(turn, address) if action.action == "retry" else _skip(turn, address, action)


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
    if address.endswith(UNDO_SUFFIX):
        return None if undo.retry_stuck(turn, node) else "nothing-to-retry"
    if not isinstance(node.block, CommandStep):
        turn.unblock(address)
        if isinstance(node.block, Repeat) and node.key in turn.nodes:
            repeat.judge_again(turn, node)
        else:
            TRANSITIONS[type(node.block)].start(turn, node)
        return None
    state = turn.step(node)
    turn.unblock(address)
    turn.change(node, budget=len(state.tries))
    if state.status == "perhaps" and (state.undoing or state.tries[-1].state == "silent"):
        command.wait_anew(turn, node)  # what is being undone is asked about again, and never executed again
    else:
        command.new_try(turn, node)
    return None


def _skip(turn: Turn, address: str, action: OperatorAction) -> Reason | None:
    node = _node(turn, address)
    if address.endswith(UNDO_SUFFIX):
        undo.skip_stuck(turn, node)
        return None
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
        assert node.makes is not None and issubclass(node.makes, Command)
        outcome = given_outcome(node.makes, action.outcome_type, action.outcome)
        if outcome is None:
            return "outcome-invalid"
    elif node.name in turn.plan.demanded:
        return "outcome-needed"
    turn.unblock(node.key)
    turn.change(node, status="skipped", outcome=outcome, record=None)
    turn.done(node)
    return None


def given_outcome(made: type[Command], type_name: str | None, payload: dict[str, Any]) -> Outcome | None:
    """The outcome that an operator gives, if it fits the contract of one of the command's successes."""
    for event in made.succeeds:
        if type_name in (None, event.type):
            try:
                message = event.model_validate_json(msgspec.json.encode(payload))
            except ValidationError:
                continue
            return Outcome(type=event.type, data=message.to_json(), try_number=0)
    return None
