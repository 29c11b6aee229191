"""The one pure function: `decide(book, process, input) -> Decision`. A shard's state is its fold over the inbox."""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from contracts.ids import fingerprint
from contracts.process import OperatorAction, Phase, TimerFired
from orchestrator.engine.answers import answer
from orchestrator.engine.blocks import command, sleep, undo
from orchestrator.engine.book import SagaBook
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.decision import Alert, Decision, Reason
from orchestrator.engine.effects import first_traceparent
from orchestrator.engine.history import HISTORY_MAX, encode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.interpreter import run
from orchestrator.engine.lifecycle import announce
from orchestrator.engine.operator import act
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Cause, Process, Start
from orchestrator.engine.turn import DEADLINE_TIMER, Turn

__all__ = ["Decision", "decide"]


def decide(book: SagaBook, process: Process | None, item: Input) -> Decision:
    """Fold one input into a process.

    Raises:
        UnknownVersion: the log names a saga version that this build lacks; the shard must pause.
    """
    if process is None:
        return _first(book, item)
    plan = book.plan(process.saga, process.version)
    turn = Turn(plan, process, item, max(item.at_ms, process.updated_at_ms))
    reason = _apply(turn)
    if reason is not None:
        return _ignored(turn, reason)
    run(turn)
    return _applied(turn)


def _first(book: SagaBook, item: Input) -> Decision:
    if item.saga is None or item.version is None:
        alerts: tuple[Alert, ...] = ()
        if item.envelope.type in book.success_types:
            alerts = ("success-without-process",)
        return Decision(None, "ignored", "no-process", alerts=alerts)
    plan = book.plan(item.saga, item.version)
    if item.envelope.type != plan.saga.starts_on.type:
        return Decision(None, "ignored", "no-process")
    try:
        parse_payload(plan.saga.starts_on, item.data)
    except PayloadInvalid:
        return Decision(None, "ignored", "invalid-payload")
    process = _new_process(plan, item)
    turn = Turn(plan, process, item, item.at_ms)
    if plan.saga.deadline is not None:
        turn.set_timer(DEADLINE_TIMER, item.at_ms + round(plan.saga.deadline.total_seconds() * 1000))
    turn.note(f"{process.id} starts, version {process.version} of {process.saga}")
    turn.start(plan.nodes[plan.body_root])
    run(turn)
    return _applied(turn)


def _new_process(plan: Plan, item: Input) -> Process:
    envelope = item.envelope
    start = Start(
        source=envelope.source,
        id=envelope.id,
        type=envelope.type,
        data=item.data,
        fingerprint=fingerprint(envelope.type, item.data),
        traceparent=first_traceparent(envelope.traceparent, item.process_id),
    )
    return Process(
        id=item.process_id,
        saga=plan.saga.name,
        version=plan.saga.version,
        start=start,
        phase="running",
        started_at_ms=item.at_ms,
        updated_at_ms=item.at_ms,
    )


def _apply(turn: Turn) -> Reason | None:
    envelope = turn.item.envelope
    if envelope.type == TimerFired.type:
        return _timer_fired(turn)
    if envelope.type == OperatorAction.type:
        try:
            action = OperatorAction.model_validate_json(turn.item.data)
        except ValidationError:
            return "invalid-payload"
        return act(turn, action)
    if turn.item.saga is not None and envelope.type == turn.plan.saga.starts_on.type:
        return _started_again(turn)
    if envelope.causation_id is not None and envelope.process_id is not None:
        return answer(turn)
    return "unexpected-type"


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
    """Timer ids: `<path>/silence`, `.../retry`, `.../wake`, `<path>/undo/<n>/silence`, `.../undo/<n>/retry`."""
    parts = timer_id.split("/")
    node, kind = turn.plan.find(parts[0]), parts[-1]
    assert node is not None, "a timer has a place in the saga"
    if kind == "wake":
        sleep.on_wake(turn, node)
    elif len(parts) == 2:
        (command.on_silence if kind == "silence" else command.on_retry_due)(turn, node)
    else:
        (undo.on_silence if kind == "silence" else undo.on_retry_due)(turn, node, int(parts[2]))


def _ignored(turn: Turn, reason: Reason) -> Decision:
    """Nothing changes but the history."""
    before = turn.before
    if before.history_length >= HISTORY_MAX:
        return Decision(before, "ignored", reason)
    entry = encode_entry(turn.item, turn.now_ms, "ignored", reason, before.phase, before.revision, (), ())
    after = msgspec.structs.replace(before, history_length=before.history_length + 1)
    return Decision(after, "ignored", reason, history=entry)


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
        history_length=before.history_length + 1,
    )
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
