"""Transitions of a step's undo: jobs that each undo some of its tries, by their command ids.

A step's undo is finished when all its jobs are. A late success opens one more job, whatever phase the process is in.
A job that fails is tried again under a new id (undoing is idempotent over the ids that it covers, see
docs/protocol.md), as often as its policy says; then a person decides. A child without an `undo=` of its own undoes
itself: it is asked once, and answers when it has ended, however long that takes.
"""

from __future__ import annotations

import msgspec

from contracts.ids import command_id, undo_id
from contracts.message import Command
from contracts.process import UndoChild
from orchestrator.engine.building import BuilderFailed, build
from orchestrator.engine.children import tell_child
from orchestrator.engine.effects import Effect, EffectTooLarge, command_effect
from orchestrator.engine.plan import Node
from orchestrator.engine.process import PERHAPS, Outcome, StepState, StoredRecord, UndoJob, UndoStatus
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import CommandStep, Subsaga, Undo

OPEN: frozenset[UndoStatus] = frozenset(("awaited", "backoff", "stuck"))
IRREVERSIBLE_PERHAPS = "perhaps-done-irreversible"
SURPLUS_WITHOUT_UNDO = "surplus-success-without-undo"
DONE_BY_HAND = "done-by-hand"
"""A person gave the outcome of a step that was never sent: no command id names what is to be undone."""


def by_child(node: Node) -> bool:
    """The step is a child that undoes itself."""
    block = _block(node)
    return isinstance(block, Subsaga) and block.undo is None and not block.irreversible


def _has_undo(node: Node) -> bool:
    return _block(node).undo is not None or by_child(node)


def begin(turn: Turn, node: Node) -> None:
    """The step has settled and is to be undone: whatever it did or perhaps did, and no job covers yet."""
    state, block = turn.step(node), _block(node)
    covered = {identity for job in state.undos for identity in job.covers}
    covers = tuple(identity for identity in _effective(turn, node, state) if identity not in covered)
    if not _has_undo(node) and covers and any(attempt.state in PERHAPS for attempt in state.tries):
        turn.block(node.key, IRREVERSIBLE_PERHAPS)
        return
    if not _has_undo(node) and covers and not block.irreversible:
        _leave_to_person(turn, node, covers, SURPLUS_WITHOUT_UNDO)  # an alternative past the pivot was given up
    elif not _has_undo(node) and covers:
        turn.note(f"{node.key} is irreversible: it stays done")
    elif covers:
        open_job(turn, node, covers, state.outcome)
    elif _has_undo(node) and state.status == "skipped" and state.outcome is not None and not state.tries:
        _leave_to_person(turn, node, (), DONE_BY_HAND)
    close_if_finished(turn, node)


def _effective(turn: Turn, node: Node, state: StepState) -> tuple[str, ...]:
    """Command ids of the tries that had or may have had an effect; of all tries, if a person vouched for the step."""
    vouched = state.status == "skipped" and state.outcome is not None
    return tuple(
        command_id(turn.before.id, turn.path(node), attempt.number)
        for attempt in state.tries
        if vouched or attempt.state == "succeeded" or attempt.state in PERHAPS
    )


def undo_other_tries(turn: Turn, node: Node, outcome: Outcome) -> None:
    """The step is settled by one try: those that are still awaited or perhaps done are undone by their own ids."""
    if _block(node).undo is None:
        return
    others = tuple(
        command_id(turn.before.id, turn.path(node), attempt.number)
        for attempt in turn.step(node).tries
        if attempt.number != outcome.try_number and (attempt.state == "awaited" or attempt.state in PERHAPS)
    )
    if others:
        open_job(turn, node, others, None)


def late_success(turn: Turn, node: Node, outcome: Outcome) -> None:
    """A success of a try whose step was settled by another try, or given up."""
    state = turn.step(node)
    identity = command_id(turn.before.id, turn.path(node), outcome.try_number)
    if not _has_undo(node):
        _late_success_without_undo(turn, node, outcome, identity)
        return
    for place, job in enumerate(state.undos):
        if identity in job.covers and job.status in OPEN:
            _replace(turn, node, place, msgspec.structs.replace(job, again=(*job.again, outcome)))
            return
    open_job(turn, node, (identity,), outcome)


def _late_success_without_undo(turn: Turn, node: Node, outcome: Outcome, identity: str) -> None:
    state = turn.step(node)
    turn.alerts.append("surplus-success")
    if state.undoing and not state.undone:
        turn.unblock(node.key)
        turn.change(node, status="succeeded", outcome=outcome)
        if _block(node).irreversible:
            turn.note(f"{node.key} is irreversible: it stays done")
        else:
            _leave_to_person(turn, node, (identity,), SURPLUS_WITHOUT_UNDO)
        close_if_finished(turn, node)
    elif not _block(node).irreversible:
        _leave_to_person(turn, node, (identity,), SURPLUS_WITHOUT_UNDO)


def _leave_to_person(turn: Turn, node: Node, covers: tuple[str, ...], reason: str) -> None:
    """Something must be undone, and no command can do it: it can only be skipped, once a person has seen to it."""
    job = UndoJob(numbers=(), covers=covers, status="stuck")
    turn.change(node, undos=(*turn.step(node).undos, job))
    turn.block(f"{node.key}/undo", reason)


def open_job(turn: Turn, node: Node, covers: tuple[str, ...], outcome: Outcome | None) -> None:
    """Build the undo and send it. `outcome`: what the builder sees of the step itself (None: perhaps done)."""
    place = len(turn.step(node).undos)
    job = UndoJob(numbers=(), covers=covers, status="stuck", outcome=outcome)
    turn.change(node, undos=(*turn.step(node).undos, job))
    _build_and_send(turn, node, place)


def _build_and_send(turn: Turn, node: Node, place: int) -> None:
    if by_child(node):
        _ask_child(turn, node, place)
        return
    undo, own = _undo(node), {node.key: turn.step(node).undos[place].outcome}
    try:
        made = build(undo.builder, _makes(node), node.undo_slots, turn.captured(node, own))
        _send(turn, node, place, made.key, made.data)
    except (BuilderFailed, EffectTooLarge) as error:
        turn.block(f"{node.key}/undo", str(error))


def _next_number(turn: Turn, node: Node) -> int:
    return 1 + max((n for job in turn.step(node).undos for n in job.numbers), default=0)


def _ask_child(turn: Turn, node: Node, place: int) -> None:
    """No timer is set: the log loses nothing, and the child ends or is stuck itself."""
    job, number = turn.step(node).undos[place], _next_number(turn, node)
    identity = undo_id(turn.before.id, turn.path(node), number)
    effect = tell_child(turn, node, UndoChild, id=identity, undoes=job.covers)
    numbers, record = (*job.numbers, number), StoredRecord.of(effect.record)
    sent = msgspec.structs.replace(
        job, numbers=numbers, status="awaited", sent_at_ms=turn.now_ms, record=record, outcome=None
    )
    _replace(turn, node, place, sent)


def _send(turn: Turn, node: Node, place: int, key: str, data: bytes) -> None:
    """A new attempt under a new id. Raises EffectTooLarge."""
    undo, job, number = _undo(node), turn.step(node).undos[place], _next_number(turn, node)
    patience_ms = round(undo.patience.total_seconds() * 1000)
    effect = command_effect(
        _makes(node),
        key,
        data,
        process=turn.before.id,
        id=undo_id(turn.before.id, turn.path(node), number),
        now_ms=turn.now_ms,
        deadline_ms=turn.now_ms + patience_ms,
        try_number=number,
        undoes=() if isinstance(_block(node), Subsaga) else job.covers,  # no participant knows a child's start
        traceparent=turn.before.start.traceparent,
        causation=turn.item.envelope.id,
    )
    turn.send(effect)
    sent = msgspec.structs.replace(
        job,
        numbers=(*job.numbers, number),
        status="awaited",
        sent_at_ms=turn.now_ms,
        record=StoredRecord.of(effect.record),
        outcome=None,
    )
    _replace(turn, node, place, sent)
    _await_answer(turn, node, number, turn.now_ms + patience_ms)


def _await_answer(turn: Turn, node: Node, number: int, patience_ends_ms: int) -> None:
    resend_ms = turn.now_ms + round(_undo(node).timeout.total_seconds() * 1000)
    turn.set_timer(f"{node.key}/undo/{number}/silence", min(resend_ms, patience_ends_ms))


def find_job(state: StepState, number: int) -> int | None:
    """The place of the job that attempt `number` belongs to."""
    return next((place for place, job in enumerate(state.undos) if number in job.numbers), None)


def on_silence(turn: Turn, node: Node, number: int) -> None:
    place = find_job(turn.step(node), number)
    assert place is not None
    job = turn.step(node).undos[place]
    patience_ends_ms = job.sent_at_ms + round(_undo(node).patience.total_seconds() * 1000)
    if turn.now_ms < patience_ends_ms:
        assert job.record is not None
        identity = undo_id(turn.before.id, turn.path(node), number)
        turn.note(f"no answer to the undo of {node.key}, attempt {number}: the same attempt is sent again")
        turn.send(Effect(job.record.outgoing(), identity, _makes(node).type))
        _await_answer(turn, node, number, patience_ends_ms)
    else:
        _give_up(turn, node, place, "silent")


def on_retry_due(turn: Turn, node: Node, number: int) -> None:
    place = find_job(turn.step(node), number)
    assert place is not None
    turn.clear_timer(f"{node.key}/undo/{number}/retry")
    _attempt_again(turn, node, place)


def on_success(turn: Turn, node: Node, place: int) -> None:
    _close(turn, node, place, "done")
    job = turn.step(node).undos[place]
    for outcome in job.again:
        identity = command_id(turn.before.id, turn.path(node), outcome.try_number)
        turn.note(f"{node.key}, try {outcome.try_number}, succeeded while it was being undone: one more undo")
        open_job(turn, node, (identity,), outcome)
    close_if_finished(turn, node)


def on_failure(turn: Turn, node: Node, place: int, retryable: bool, why: str) -> None:
    """The last attempt has failed, or was refused."""
    undo, job = _block(node).undo, turn.step(node).undos[place]
    assert job.status == "awaited", "answers.py lets no other failure through"
    _stop_timers(turn, node, job)
    if retryable and undo is not None and job.attempts < undo.retry.attempts:
        delay_ms = undo.retry.delay_ms(job.attempts)
        turn.note(f"the undo of {node.key} failed: {why}; again in {delay_ms} ms")
        waiting = msgspec.structs.replace(job, status="backoff", attempts=job.attempts + 1)
        _replace(turn, node, place, waiting)
        turn.set_timer(f"{node.key}/undo/{job.numbers[-1]}/retry", turn.now_ms + delay_ms)
    else:
        _give_up(turn, node, place, why)


def retry_stuck(turn: Turn, node: Node) -> bool:
    """An operator wants every stuck undo of the step tried again. False: there is nothing that can be tried."""
    tryable = [job.status == "stuck" and bool(job.covers) for job in turn.step(node).undos]
    if not _has_undo(node) or not any(tryable):
        return False
    turn.unblock(f"{node.key}/undo")
    for place, job in enumerate(turn.step(node).undos):
        if tryable[place]:
            _replace(turn, node, place, msgspec.structs.replace(job, attempts=1))
            _attempt_again(turn, node, place)
    return True


def skip_stuck(turn: Turn, node: Node) -> None:
    """An operator takes the step for undone."""
    turn.unblock(f"{node.key}/undo")
    for place, job in enumerate(turn.step(node).undos):
        if job.status == "stuck":
            _close(turn, node, place, "skipped")
    close_if_finished(turn, node)


def close_if_finished(turn: Turn, node: Node) -> None:
    state = turn.step(node)
    if state.undoing and not state.undone and not has_open_job(state):
        turn.change(node, undone=True, record=None)
        turn.undone(node)


def has_open_job(state: StepState) -> bool:
    return any(job.status in OPEN for job in state.undos)


def _attempt_again(turn: Turn, node: Node, place: int) -> None:
    """The payload as it was under a new id; if none could be built before, it is built now."""
    record = turn.step(node).undos[place].record
    if record is None or by_child(node):
        _build_and_send(turn, node, place)
        return
    try:
        _send(turn, node, place, (record.key or b"").decode(), record.value)
    except EffectTooLarge as error:
        _give_up(turn, node, place, str(error))


def _give_up(turn: Turn, node: Node, place: int, why: str) -> None:
    job = turn.step(node).undos[place]
    _stop_timers(turn, node, job)
    _replace(turn, node, place, msgspec.structs.replace(job, status="stuck"))
    turn.block(f"{node.key}/undo", f"the undo failed: {why}")


def _close(turn: Turn, node: Node, place: int, status: UndoStatus) -> None:
    job = turn.step(node).undos[place]
    _stop_timers(turn, node, job)
    _replace(turn, node, place, msgspec.structs.replace(job, status=status, record=None))
    others = (other for at, other in enumerate(turn.step(node).undos) if at != place)
    if not any(other.status == "stuck" for other in others):
        turn.unblock(f"{node.key}/undo")


def _stop_timers(turn: Turn, node: Node, job: UndoJob) -> None:
    for number in job.numbers:
        turn.clear_timer(f"{node.key}/undo/{number}/silence")
        turn.clear_timer(f"{node.key}/undo/{number}/retry")


def _replace(turn: Turn, node: Node, place: int, job: UndoJob) -> None:
    jobs = list(turn.step(node).undos)
    jobs[place] = job
    turn.change(node, undos=tuple(jobs))


def _block(node: Node) -> CommandStep | Subsaga:
    assert isinstance(node.block, CommandStep | Subsaga)
    return node.block


def _undo(node: Node) -> Undo:
    undo = _block(node).undo
    assert undo is not None
    return undo


def _makes(node: Node) -> type[Command]:
    assert node.undo_makes is not None and issubclass(node.undo_makes, Command)
    return node.undo_makes
