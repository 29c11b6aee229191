"""The one pure function: `decide(book, process, input) -> Decision`. A shard's state is its fold over the inbox."""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from contracts.ids import fingerprint
from contracts.process import (
    ApprovalGiven,
    CancelRequested,
    ChildEnded,
    MigrationRequested,
    OperatorAction,
    Phase,
    ReleaseChild,
    StartChild,
    TimerFired,
)
from orchestrator.engine import children, early, expiry
from orchestrator.engine.answers import answer, child_ended
from orchestrator.engine.approvals import decide_approval
from orchestrator.engine.arrivals import arrive, is_arrival
from orchestrator.engine.blocks import approval, command, on_stuck, sleep, undo, wait
from orchestrator.engine.book import SagaBook
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.decision import Alert, Decision, Reason, Verdict
from orchestrator.engine.effects import first_traceparent, too_old_effect
from orchestrator.engine.history import HISTORY_MAX, encode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.interpreter import run
from orchestrator.engine.lifecycle import announce
from orchestrator.engine.limiter import LIMITER_PREFIX, decide_limiter
from orchestrator.engine.migration import migrate
from orchestrator.engine.operator import act, cancel
from orchestrator.engine.permit_inputs import hear, on_timer
from orchestrator.engine.permits import PERMIT_TIMER, SAGA_ADDRESS, ask
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Cause, Parentage, Process, Start
from orchestrator.engine.turn import DEADLINE_TIMER, Turn
from orchestrator.language.waiting import Approval

__all__ = ["Decision", "decide"]


def decide(book: SagaBook, process: Process | None, item: Input) -> Decision:
    """Fold one input into a process.

    Raises:
        UnknownVersion: the log names a saga version that this build lacks; the shard must pause.
    """
    if process is None or process.phase in _OWN:
        return _first(book, process, item)
    if process.phase == "expired":
        if item.envelope.type in children.TO_CHILD:
            return children.told_when_expired(process, item)
        return expiry.decide_expired(process, item, _alerts_without_process(book, item))
    if item.envelope.type == TimerFired.type and expiry.fired_timer(item) is not None:
        return expiry.expire(process, item)
    plan = book.plan(process.saga, process.version)
    turn = Turn(plan, process, item, max(item.at_ms, process.updated_at_ms))
    if item.envelope.type == MigrationRequested.type:
        return _moved(book, turn)
    verdict = _apply(turn)
    if verdict == "buffered":
        return _buffered(turn)
    if verdict is not None:
        return _ignored(turn, verdict)
    return _run(turn)


def _run(turn: Turn) -> Decision:
    """To the end of what the input has begun, alerts included."""
    run(turn)
    if on_stuck.follow(turn):
        run(turn)
    return _applied(turn)


_OWN = frozenset(("early", "limiter"))
"""Phases of what is no process of a saga."""


def _first(book: SagaBook, before: Process | None, item: Input) -> Decision:
    """There is no process, or only what is kept for one (see early.py); or it is a limiter."""
    if item.process_id.startswith(LIMITER_PREFIX):
        return decide_limiter(before, item)
    if before is not None and item.envelope.type == TimerFired.type:
        return early.on_timer(before, item)
    if item.saga is None or item.version is None:
        return early.ignored(before, item, "no-process", _alerts_without_process(book, item))
    plan = book.plan(item.saga, item.version)
    if item.envelope.type in children.TO_CHILD:
        return _first_from_parent(plan, before, item)
    if item.envelope.type != plan.saga.starts_on.type:
        return early.keep(plan, before, item)
    try:
        message = parse_payload(plan.saga.starts_on, item.data)
    except PayloadInvalid:
        return early.ignored(before, item, "invalid-payload")
    if expiry.too_old(item):
        letter = too_old_effect(item.process_id, message.key, item.data, item.envelope, item.offset, item.at_ms)
        return msgspec.structs.replace(early.ignored(before, item, "too-old"), effects=(letter.record,))
    return _start(plan, before, item, item.envelope.type, item.data)


def _alerts_without_process(book: SagaBook, item: Input) -> tuple[Alert, ...]:
    return ("success-without-process",) if item.envelope.type in book.success_types else ()


def _first_from_parent(plan: Plan, before: Process | None, item: Input) -> Decision:
    """What a parent says about a child that there is not, or not yet (see children.py)."""
    message = children.read_told(item)
    if message is None or isinstance(message, ReleaseChild):
        return early.ignored(before, item, "invalid-payload" if message is None else "no-process")
    if isinstance(message, StartChild):
        data = children.start_payload(plan, message)
        if data is not None:
            return _start(plan, before, item, plan.saga.starts_on.type, data, children.born(message))
    process = _new_process(plan, before, item, item.envelope.type, item.data)
    process = msgspec.structs.replace(process, cause=Cause(reason="parent"))
    turn = Turn(plan, process, item, process.started_at_ms)
    children.leave_mark(turn, message)
    return _applied(turn)


def _start(
    plan: Plan, before: Process | None, item: Input, type_name: str, data: bytes, parent: Parentage | None = None
) -> Decision:
    process = msgspec.structs.replace(_new_process(plan, before, item, type_name, data), parent=parent)
    turn = Turn(plan, process, item, process.started_at_ms)
    turn.starting = True
    if plan.saga.deadline is not None:
        turn.set_timer(DEADLINE_TIMER, turn.now_ms + round(plan.saga.deadline.total_seconds() * 1000))
    turn.note(f"{process.id} starts, version {process.version} of {process.saga}")
    if plan.saga.limit is None:
        turn.start(plan.nodes[plan.body_root])
    else:
        ask(turn, SAGA_ADDRESS)
    if early.called_off_before(plan, before):
        turn.note("it was called off before it started")
        turn.call_off()
    return _run(turn)


def _new_process(plan: Plan, before: Process | None, item: Input, type_name: str, data: bytes) -> Process:
    envelope = item.envelope
    start = Start(
        source=envelope.source,
        id=envelope.id,
        type=type_name,
        data=data,
        fingerprint=fingerprint(type_name, data),
        traceparent=first_traceparent(envelope.traceparent, item.process_id),
    )
    now_ms = item.at_ms if before is None else max(item.at_ms, before.updated_at_ms)
    process = Process(
        id=item.process_id,
        saga=plan.saga.name,
        version=plan.saga.version,
        start=start,
        phase="running",
        started_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    if before is None:
        return process
    return msgspec.structs.replace(
        process,
        revision=before.revision,
        early=early.taken_over(plan, before),
        seen=before.seen,
        history_length=before.history_length,
    )


def _apply(turn: Turn) -> Verdict:
    envelope = turn.item.envelope
    if envelope.type == TimerFired.type:
        return _timer_fired(turn)
    if envelope.type == OperatorAction.type:
        try:
            action = OperatorAction.model_validate_json(turn.item.data)
        except ValidationError:
            return "invalid-payload"
        return act(turn, action)
    if envelope.type in children.TO_CHILD:
        return children.told(turn)
    if envelope.type == ChildEnded.type:
        return child_ended(turn)
    if turn.item.saga is not None and envelope.type == turn.plan.saga.starts_on.type:
        return _started_again(turn)
    if envelope.type == CancelRequested.type:
        return cancel(turn)
    if envelope.type == ApprovalGiven.type:
        return decide_approval(turn)
    wanted = is_arrival(turn.plan, turn.item)
    answers = envelope.causation_id is not None and envelope.process_id is not None
    if answers and not (wanted and envelope.process_id != turn.before.id):
        return answer(turn)
    return arrive(turn) if wanted else hear(turn)


def _started_again(turn: Turn) -> Reason:
    start, envelope = turn.before.start, turn.item.envelope
    same_payload = start.fingerprint == fingerprint(envelope.type, turn.item.data)
    if (start.source, start.id) == envelope.identity:
        return "duplicate-start" if same_payload else "conflicting-start"
    return "already-started" if same_payload else "conflicting-start"


def _timer_fired(turn: Turn) -> Reason | None:
    try:
        fired = TimerFired.model_validate_json(turn.item.data)
    except ValidationError:
        return "invalid-payload"
    due = turn.timers.get(fired.timer_id)
    if due is None:
        return "stale"
    if turn.now_ms < due:
        return "premature"
    if fired.timer_id == DEADLINE_TIMER:
        _deadline(turn)
    else:
        _step_timer(turn, fired.timer_id)
    return None


def _deadline(turn: Turn) -> None:
    turn.clear_timer(DEADLINE_TIMER)
    turn.deadline_passed = True
    if turn.past_pivot:
        turn.alerts.append("deadline-after-pivot")
        turn.note("the deadline has passed after the pivot: the process goes on, and an alert is raised")
    else:
        turn.compensate(Cause(reason="deadline"))


def _step_timer(turn: Turn, timer_id: str) -> None:
    """Timer ids: `<path>/` and `silence`, `retry`, `wake`, `limit`, `escalation` or `permit`; `<path>/undo/<n>/` and
    `silence` or `retry`."""
    parts = timer_id.split("/")
    if parts[-1] == PERMIT_TIMER:
        on_timer(turn, parts[0])
        return
    node, kind = turn.plan.find(parts[0]), parts[-1]
    assert node is not None, "a timer has a place in the saga"
    if kind == "wake":
        sleep.on_wake(turn, node)
    elif kind == "limit":
        (approval if isinstance(node.block, Approval) else wait).on_limit(turn, node)
    elif kind == "escalation":
        approval.on_escalation(turn, node)
    elif len(parts) == 2:
        (command.on_silence if kind == "silence" else command.on_retry_due)(turn, node)
    else:
        (undo.on_silence if kind == "silence" else undo.on_retry_due)(turn, node, int(parts[2]))


def _buffered(turn: Turn) -> Decision:
    """It is kept for a block that has not begun; for the outside, nothing has happened."""
    before = turn.before
    after = msgspec.structs.replace(
        before,
        updated_at_ms=turn.now_ms,
        early=turn.early,
        seen=turn.seen,
        history_length=before.history_length + 1,
    )
    notes = tuple(turn.notes)
    entry = encode_entry(turn.item, turn.now_ms, "buffered", None, after.phase, after.revision, notes, ())
    return Decision(after, "buffered", history=entry)


def _moved(book: SagaBook, turn: Turn) -> Decision:
    """Another version; nothing begins or ends by it, but for the alerts of one that is stuck."""
    found = migrate(book, turn)
    if not isinstance(found, Process):
        return _ignored(turn, found, tuple(turn.notes))
    anew = Turn(book.plan(found.saga, found.version), found, turn.item, turn.now_ms)
    anew.notes = turn.notes
    on_stuck.begin_anew(anew)
    run(anew)
    return _applied(anew)


def _ignored(turn: Turn, reason: Reason, notes: tuple[str, ...] = ()) -> Decision:
    """Nothing changes but the history."""
    before, alerts = turn.before, tuple(turn.alerts)
    if before.history_length >= HISTORY_MAX:
        return Decision(before, "ignored", reason, alerts=alerts)
    entry = encode_entry(turn.item, turn.now_ms, "ignored", reason, before.phase, before.revision, notes, ())
    after = msgspec.structs.replace(before, history_length=before.history_length + 1)
    return Decision(after, "ignored", reason, history=entry, alerts=alerts)


def _applied(turn: Turn) -> Decision:
    before = turn.before
    underway: Phase = "compensating" if turn.cause else "running"
    after = msgspec.structs.replace(
        before,
        phase="stuck" if turn.stuck else turn.ended or underway,
        updated_at_ms=turn.now_ms,
        revision=before.revision + 1,
        steps=turn.steps,
        nodes=turn.nodes,
        timers=turn.timers,
        stuck=turn.stuck,
        cause=turn.cause,
        ended=turn.ended,
        past_pivot=turn.past_pivot,
        deadline_passed=turn.deadline_passed,
        early=() if turn.ended else turn.early,
        seen=turn.seen,
        permits=turn.permits,
        history_length=before.history_length + 1,
        parent=turn.parentage,
    )
    if turn.ended:
        after = expiry.armed(turn.plan, after)
    announce(turn, after, before.ended or underway)
    notes, effects = tuple(turn.notes), tuple(turn.effects)
    entry = encode_entry(turn.item, turn.now_ms, "applied", None, after.phase, after.revision, notes, effects)
    return Decision(
        after,
        "applied",
        None,
        effects=tuple(effect.record for effect in effects),
        history=entry,
        alerts=tuple(turn.alerts),
        measures=tuple(turn.measures),
    )
