"""Inputs by which a person approves or rejects: matched by step path, taken once by their ids."""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from contracts.process import ApprovalGiven
from orchestrator.engine.arrivals import digest, remember
from orchestrator.engine.blocks import approval
from orchestrator.engine.decision import Reason
from orchestrator.engine.process import Outcome
from orchestrator.engine.turn import Turn
from orchestrator.language.waiting import Approval, captured_as


def decide_approval(turn: Turn) -> Reason | None:
    """Apply the turn's input. A reason: it is ignored, and nothing has changed."""
    try:
        given = ApprovalGiven.model_validate_json(turn.item.data)
    except ValidationError:
        return "invalid-payload"
    if digest(turn.item.envelope) in turn.seen:
        return "duplicate"
    node = turn.plan.find(given.step)
    if node is None or not isinstance(node.block, Approval) or not approval.is_open(turn, node):
        return "not-awaited"
    if given.roles is not None and not approval.roles(turn, node) & set(given.roles):
        return "wrong-role"
    needed = given.decision == "approve" or given.form is not None
    form = read_form(node.block, given) if needed else None
    if isinstance(form, str):
        return "form-invalid"
    turn.seen = remember(turn.seen, turn.item)
    approval.decided(turn, node, given.decision, form, given.by)
    return None


def read_form(block: Approval, given: ApprovalGiven) -> Outcome | str | None:
    """What the person filled in; None if the block has no form. A text: what is wrong with it."""
    if block.form is None:
        return None if given.form is None else "this approval has no form"
    try:
        form = block.form.model_validate_json(msgspec.json.encode(given.form or {}))
    except ValidationError as error:
        return str(error)
    return Outcome(type=captured_as(block.form), data=form.model_dump_json(exclude_none=True).encode(), try_number=0)
