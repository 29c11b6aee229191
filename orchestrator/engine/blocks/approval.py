"""Transitions of `approval`: a person of a role approves or rejects, within a limit. Given up at once when undone.

State: `waiting`, then `succeeded` with the form, `failed` when it was rejected (reason `refused`; the form is kept as
the refusal) or the limit has passed (reason `silent`), `skipped`. Only the block's own role may decide; once the timer
`escalation` has fired, or the limit has passed (`escalated`), the role that the escalation names may as well. The
timer alone does not say so: a rejection past the pivot stops it, and the block stays open.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from contracts.process import ApprovalEscalated
from orchestrator.engine.effects import notice_effect
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Outcome
from orchestrator.engine.turn import Turn
from orchestrator.language.waiting import Approval


def start(turn: Turn, node: Node) -> None:
    block = _block(node)
    turn.change(node, status="waiting", detail=None, refusal=None, escalated=False)
    turn.set_timer(f"{node.key}/limit", turn.now_ms + round(block.limit.total_seconds() * 1000))
    if block.escalation is not None:
        turn.set_timer(f"{node.key}/escalation", turn.now_ms + round(block.escalation.after.total_seconds() * 1000))


def is_open(turn: Turn, node: Node) -> bool:
    """A decision still counts: also when the limit has passed and the process is stuck at it."""
    return turn.step(node).status == "waiting" or node.key in turn.stuck


def roles(turn: Turn, node: Node) -> frozenset[str]:
    """Who may decide now."""
    return roles_of(_block(node), escalated=turn.step(node).escalated)


def roles_of(block: Approval, *, escalated: bool) -> frozenset[str]:
    """Who may decide, before it has escalated and after."""
    if block.escalation is None or not escalated:
        return frozenset((block.role,))
    return frozenset((block.role, block.escalation.role))


def decided(turn: Turn, node: Node, decision: Literal["approve", "reject"], form: Outcome | None, by: str) -> None:
    _stop_timers(turn, node)
    turn.unblock(node.key)
    if decision == "approve":
        turn.note(f"{node.key} is approved by {by}")
        turn.change(node, status="succeeded", outcome=form, refusal=None, detail=None)
        turn.done(node)
    else:
        turn.change(node, status="failed", refusal=form, detail=f"rejected by {by}")
        turn.fail(node, "refused", f"rejected by {by}")


def on_limit(turn: Turn, node: Node) -> None:
    _stop_timers(turn, node)
    detail = f"nobody has decided within {_block(node).limit}"
    turn.change(node, status="failed", detail=detail, escalated=_block(node).escalation is not None)
    turn.fail(node, "silent", detail)


def on_escalation(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/escalation")
    turn.change(node, escalated=True)
    block, before = _block(node), turn.before
    assert block.escalation is not None
    role = block.escalation.role
    turn.note(f"{node.key}: {block.role} has not decided within {block.escalation.after}; {role} may as well now")
    event = ApprovalEscalated(
        process_id=before.id,
        saga=before.saga,
        version=before.version,
        step=node.key,
        role=block.role,
        escalated_to=role,
        at=datetime.fromtimestamp(turn.now_ms / 1000, UTC),
    )
    turn.send(
        notice_effect(
            event,
            event.process_id,
            id=f"{before.id}/{node.key}/escalation/{before.revision + 1}",
            now_ms=turn.now_ms,
            traceparent=before.start.traceparent,
            causation=turn.item.envelope.id,
        )
    )


def undo(turn: Turn, node: Node) -> None:
    _stop_timers(turn, node)
    turn.unblock(node.key)
    if turn.step(node).status == "waiting":
        turn.change(node, status="failed", detail="given up")
    turn.undone(node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("an approval has no children")


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("an approval has no children")


def _stop_timers(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/limit")
    turn.clear_timer(f"{node.key}/escalation")


def _block(node: Node) -> Approval:
    assert isinstance(node.block, Approval)
    return node.block
