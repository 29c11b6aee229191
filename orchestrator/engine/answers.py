"""Inputs that answer a command, a child's start, or an undo: matched by causation id, deduplicated by the try that
they settle."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from contracts.message import Command, Event
from contracts.process import ChildEnded
from contracts.technical import CommandFailed
from orchestrator.engine.blocks import command, subsaga, undo
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.decision import Reason
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Outcome, Value
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import CommandStep, Subsaga

NUMBER_LENGTH_MAX = 9


class Address(Value, frozen=True):
    """What a causation id points at: a try of a step, or an attempt of its undo."""

    node: Node
    number: int
    is_undo: bool


def answer(turn: Turn) -> Reason | None:
    """Apply the turn's input as an outcome. A reason: it is ignored, and nothing has changed."""
    address = _address(turn, turn.item.envelope.causation_id)
    if address is None:
        return "not-awaited"
    made = address.node.undo_makes if address.is_undo else address.node.makes
    if made is None or not issubclass(made, Command):
        return "not-an-outcome"  # only a child answers its start
    kind, event = _kind(made, turn.item.envelope.type)
    if kind is None or event is None:
        return "not-an-outcome"
    try:
        message = parse_payload(event, turn.item.data)
    except PayloadInvalid:
        return "invalid-payload"
    outcome = Outcome(type=event.type, data=turn.item.data, try_number=address.number)
    if address.is_undo:
        if isinstance(message, CommandFailed):
            again = message.retryable or message.effect == "unknown" or message.code == "deadline-exceeded"
            return _answer_undo(turn, address, again, _why(message))
        refused = None if kind == "success" else f"it was refused: {turn.item.envelope.type}"
        return _answer_undo(turn, address, False, refused)
    return _answer_try(turn, address, kind, outcome, message if isinstance(message, CommandFailed) else None)


def _address(turn: Turn, causation: str | None) -> Address | None:
    prefix = f"{turn.before.id}/"
    if causation is None or not causation.startswith(prefix):
        return None
    path, _, digits = causation[len(prefix) :].rpartition("/")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_LENGTH_MAX) or digits[0] == "0":
        return None  # not as we write numbers: no id of ours
    is_undo = path.endswith("/undo")
    node = _sender(turn, path.removesuffix("/undo"))
    if node is None or not isinstance(node.block, CommandStep | Subsaga):
        return None
    number = int(digits)
    if is_undo:
        known = undo.find_job(turn.step(node), number) is not None
    else:
        known = command.try_state(turn, node, number) is not None
    return Address(node, number, is_undo) if known else None


def _sender(turn: Turn, path: str) -> Node | None:
    """The step whose commands have that path in their ids."""
    node = turn.plan.find(path)
    if node is not None and turn.path(node) == path:
        return node
    renamed = next((key for key, step in turn.steps.items() if step.sent_as == path), None)
    return None if renamed is None else turn.plan.find(renamed)


Kind = Literal["success", "refusal", "failure"]


def _kind(made: type[Command], type_name: str) -> tuple[Kind | None, type[Event] | None]:
    if type_name == CommandFailed.type:
        return "failure", CommandFailed
    for event in made.succeeds:
        if event.type == type_name:
            return "success", event
    for event in made.refuses:
        if event.type == type_name:
            return "refusal", event
    return None, None


def _answer_try(
    turn: Turn, address: Address, kind: Kind, outcome: Outcome, failed: CommandFailed | None
) -> Reason | None:
    node, number = address.node, address.number
    state = command.try_state(turn, node, number)
    if kind == "success":
        if state == "succeeded":
            return "duplicate"
        command.on_success(turn, node, number, outcome)
        return None
    if state == "succeeded":
        return "contradicted"
    if state in ("none", "refused"):
        return "duplicate"
    if kind == "refusal":
        command.on_refusal(turn, node, number, outcome)
        return None
    assert failed is not None
    if state == "unknown" and failed.effect == "unknown":
        return "duplicate"
    command.on_failure(turn, node, number, failed.effect, failed.retryable, _why(failed))
    return None


def _answer_undo(turn: Turn, address: Address, again: bool, why: str | None) -> Reason | None:
    """`why` it has failed, if it has; `again`: another attempt may help."""
    place = undo.find_job(turn.step(address.node), address.number)
    assert place is not None
    job = turn.step(address.node).undos[place]
    if job.status in ("done", "skipped"):
        return "duplicate"
    if why is None:
        undo.on_success(turn, address.node, place)
        return None
    if address.number != job.numbers[-1] or job.status != "awaited":
        return "duplicate"
    undo.on_failure(turn, address.node, place, again, why)
    return None


def child_ended(turn: Turn) -> Reason | None:
    """Apply the turn's input as a child's answer to its start or its undo. A reason: it is ignored."""
    try:
        ended = ChildEnded.model_validate_json(turn.item.data)
    except ValidationError:
        return "invalid-payload"
    address = _address(turn, turn.item.envelope.causation_id)
    if address is None or turn.step(address.node).child != ended.child:
        return "not-awaited"
    if not address.is_undo:
        return subsaga.on_ended(turn, address.node, address.number, ended)
    if not undo.by_child(address.node):
        return "not-an-outcome"
    stays = f"{ended.child} stays completed: {ended.detail}" if ended.phase == "completed" else None
    return _answer_undo(turn, address, False, stays)


def _why(failed: CommandFailed) -> str:
    return f"failed ({failed.code}, effect {failed.effect}): {failed.message}"[:500]
