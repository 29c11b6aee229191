"""Transitions of `command`: one command, its tries, and the answers to each of them.

What a try can come to (`TryState`), and what the step makes of it:
    success          settles the step, whichever try it answers; a second success is surplus and undone by its own id
    refused, none    nothing happened: a new try under a new key if the policy allows one, else the step has failed
    unknown, silent  perhaps done: undone like a success; past the pivot a person decides
    silence          is no answer: the same try is sent again, byte for byte, until the patience ends
Contradictory answers to one try: success wins; `none` or a refusal after silence clears "perhaps done".
A step with limits waits for its permits before every try (`permits.py`), in status `limited`, and has sent nothing yet.
Undoing is in `undo.py`.
"""

from __future__ import annotations

from typing import Literal

from contracts.ids import command_id
from contracts.message import Command
from contracts.record import OutgoingRecord
from orchestrator.engine import permits
from orchestrator.engine.blocks import undo as undoing
from orchestrator.engine.building import BuilderFailed, build
from orchestrator.engine.effects import Effect, EffectTooLarge, command_effect
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Outcome, StoredRecord, Try, TryState
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import CommandStep
from orchestrator.language.injection import EndingReason

HELD = "held"
"""How the reason of a step begins that stays for a person (`on_failure="hold"`)."""


def start(turn: Turn, node: Node) -> None:
    if _block(node).limits:
        turn.change(node, status="limited", detail=None)
        permits.ask(turn, node.key)
    else:
        _build_and_send(turn, node)


def permitted(turn: Turn, node: Node) -> None:
    """The step has its permits: the try is built and sent now, or sent as it was kept."""
    record = turn.step(node).record
    if record is None:
        _build_and_send(turn, node)
    else:
        _send_or_block(turn, node, (record.key or b"").decode(), record.value)


def _build_and_send(turn: Turn, node: Node) -> None:
    block = _block(node)
    try:
        made = build(block.builder, _makes(node), node.slots, turn.captured(node))
        send_try(turn, node, made.key, made.data)
    except (BuilderFailed, EffectTooLarge) as error:
        _blocked(turn, node, error)


def _blocked(turn: Turn, node: Node, error: BuilderFailed | EffectTooLarge) -> None:
    _stop_timers(turn, node)
    turn.change(node, status="blocked", detail=str(error))
    turn.block(node.key, str(error))


def send_try(turn: Turn, node: Node, key: str, data: bytes) -> None:
    """A new try under a new idempotency key. Raises EffectTooLarge."""
    block, state = _block(node), turn.step(node)
    number = len(state.tries) + 1
    patience_ms = round(block.patience.total_seconds() * 1000)
    effect = command_effect(
        _makes(node),
        key,
        data,
        process=turn.before.id,
        id=command_id(turn.before.id, turn.path(node), number),
        now_ms=turn.now_ms,
        deadline_ms=turn.now_ms + patience_ms,
        try_number=number,
        undoes=(),
        traceparent=turn.before.start.traceparent,
        causation=turn.item.envelope.id,
    )
    turn.send(effect)
    turn.change(
        node,
        status="awaiting",
        tries=(*state.tries, Try(number=number, state="awaited", sent_at_ms=turn.now_ms)),
        record=StoredRecord.of(effect.record),
        renew=False,
        detail=None,
    )
    _await_answer(turn, node, turn.now_ms + patience_ms)


def send_again(turn: Turn, node: Node) -> None:
    """The same try, byte for byte."""
    state = turn.step(node)
    assert state.record is not None and state.tries
    identity = command_id(turn.before.id, turn.path(node), state.tries[-1].number)
    turn.send(Effect(state.record.outgoing(), identity, _makes(node).type))


def wait_anew(turn: Turn, node: Node) -> None:
    """An operator wants the silent last try sent again, with a whole patience; `effect=none` then makes a new try."""
    state = turn.step(node)
    last = Try(number=state.tries[-1].number, state="awaited", sent_at_ms=turn.now_ms)
    turn.change(node, status="awaiting", tries=(*state.tries[:-1], last), renew=True)
    send_again(turn, node)
    _await_answer(turn, node, turn.now_ms + round(_block(node).patience.total_seconds() * 1000))


def new_try(turn: Turn, node: Node) -> None:
    """The payload as it was, under a new key (or built now, if it never was)."""
    record = turn.step(node).record
    if record is None:
        start(turn, node)
        return
    try_with(turn, node, (record.key or b"").decode(), record.value)


def try_with(turn: Turn, node: Node, key: str, data: bytes) -> None:
    """A new try with this payload."""
    if _block(node).limits:
        record = StoredRecord.of(OutgoingRecord(_makes(node).topic, key.encode(), data, ()))
        turn.change(node, status="limited", record=record)
        permits.ask(turn, node.key)
    else:
        _send_or_block(turn, node, key, data)


def _send_or_block(turn: Turn, node: Node, key: str, data: bytes) -> None:
    try:
        send_try(turn, node, key, data)
    except EffectTooLarge as error:
        _blocked(turn, node, error)


def _await_answer(turn: Turn, node: Node, patience_ends_ms: int) -> None:
    resend_ms = turn.now_ms + round(_block(node).timeout.total_seconds() * 1000)
    turn.set_timer(f"{node.key}/silence", min(resend_ms, patience_ends_ms))


def on_silence(turn: Turn, node: Node) -> None:
    """The silence timer fired: send the same try again, or the patience has ended."""
    block, last = _block(node), turn.step(node).tries[-1]
    patience_ends_ms = last.sent_at_ms + round(block.patience.total_seconds() * 1000)
    if turn.now_ms < patience_ends_ms:
        turn.note(f"no answer to {node.key}, try {last.number}: the same try is sent again")
        send_again(turn, node)
        _await_answer(turn, node, patience_ends_ms)
    else:
        turn.clear_timer(f"{node.key}/silence")
        _perhaps(turn, node, last.number, "silent", f"no answer within {block.patience}")


def on_retry_due(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/retry")
    new_try(turn, node)


def on_success(turn: Turn, node: Node, number: int, outcome: Outcome) -> None:
    state = turn.step(node)
    _mark(turn, node, number, "succeeded")
    if state.undoing and state.status == "awaiting":
        _stop_timers(turn, node)
        turn.change(node, status="succeeded", outcome=outcome)
        turn.measure_step(node, "succeeded")
        undoing.undo_other_tries(turn, node, outcome)
        undoing.begin(turn, node)
    elif state.undoing or state.status in ("succeeded", "skipped"):
        turn.note(f"{node.key}, try {number}, succeeded after the step was settled or given up: it is undone")
        undoing.late_success(turn, node, outcome)
    else:
        settle(turn, node, outcome)


def settle(turn: Turn, node: Node, outcome: Outcome) -> None:
    """The first success of any try."""
    _stop_timers(turn, node)
    turn.unblock(node.key)
    turn.change(node, status="succeeded", outcome=outcome, refusal=None, detail=None, renew=False, record=None)
    turn.measure_step(node, "succeeded")
    undoing.undo_other_tries(turn, node, outcome)
    turn.done(node)


def on_refusal(turn: Turn, node: Node, number: int, outcome: Outcome) -> None:
    block = _block(node)
    retryable = any(event.type == outcome.type for event in block.retry.on)
    _no_effect(turn, node, number, "refused", retryable, f"refused: {outcome.type}", outcome)


def on_failure(
    turn: Turn, node: Node, number: int, effect: Literal["none", "unknown"], retryable: bool, why: str
) -> None:
    """A `command-failed`: a failure with unknown effect ends the patience at once."""
    if effect == "none":
        _no_effect(turn, node, number, "none", retryable, why)
    else:
        _perhaps(turn, node, number, "unknown", why)


def _no_effect(
    turn: Turn, node: Node, number: int, state: TryState, retryable: bool, why: str, refusal: Outcome | None = None
) -> None:
    before = turn.step(node)
    _mark(turn, node, number, state)
    if number != before.tries[-1].number or before.status not in ("awaiting", "perhaps"):
        turn.note(f"{node.key}, try {number}: {why} (another try decides)")
        return
    _stop_timers(turn, node)
    turn.unblock(node.key)
    block = _block(node)
    if before.undoing:
        turn.change(node, status="failed", refusal=refusal, detail=why)
        turn.measure_step(node, state)
        undoing.begin(turn, node)
    elif before.renew and state == "none":
        new_try(turn, node)
    elif retryable and number - before.budget < block.retry.attempts:
        delay_ms = block.retry.delay_ms(number - before.budget)
        turn.note(f"{node.key}, try {number}: {why}; a new try in {delay_ms} ms")
        turn.change(node, status="backoff", detail=why)
        turn.set_timer(f"{node.key}/retry", turn.now_ms + delay_ms)
    else:
        turn.change(node, status="failed", refusal=refusal, detail=why)
        turn.measure_step(node, state)
        _failed(turn, node, "refused" if state == "refused" else "failed", why)


def _perhaps(turn: Turn, node: Node, number: int, state: TryState, why: str) -> None:
    before = turn.step(node)
    _mark(turn, node, number, state)
    if number != before.tries[-1].number or before.status != "awaiting":
        turn.note(f"{node.key}, try {number}: {why} (another try decides)")
        return
    _stop_timers(turn, node)
    turn.change(node, status="perhaps", detail=why, renew=False)
    turn.measure_step(node, state)
    turn.note(f"{node.key}, try {number}, is perhaps done: {why}")
    if before.undoing:
        undoing.begin(turn, node)
    else:
        _failed(turn, node, "silent" if state == "silent" else "failed", why)


def _failed(turn: Turn, node: Node, reason: EndingReason, why: str) -> None:
    """The step has failed, or is perhaps done."""
    if _block(node).on_failure == "hold":
        turn.block(node.key, f"{HELD}: {why}")
    else:
        turn.fail(node, reason, why)


def undo(turn: Turn, node: Node) -> None:
    """Undo the step once it has settled: a sent command is awaited first, a back-off is given up at once."""
    state = turn.step(node)
    turn.change(node, undoing=True)
    turn.unblock(node.key)
    if state.status == "awaiting":
        return
    if state.status in ("limited", "backoff", "blocked"):
        _stop_timers(turn, node)
        turn.change(node, status="failed" if state.tries else "idle")
    undoing.begin(turn, node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a command has no children")


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("a command has no children")


def try_state(turn: Turn, node: Node, number: int) -> TryState | None:
    """What is known of that try; None if it was never sent."""
    tries = turn.step(node).tries
    return tries[number - 1].state if 1 <= number <= len(tries) else None


def _mark(turn: Turn, node: Node, number: int, state: TryState) -> None:
    tries = list(turn.step(node).tries)
    tries[number - 1] = Try(number=number, state=state, sent_at_ms=tries[number - 1].sent_at_ms)
    turn.change(node, tries=tuple(tries))


def _stop_timers(turn: Turn, node: Node) -> None:
    turn.clear_timer(f"{node.key}/silence")
    turn.clear_timer(f"{node.key}/retry")
    if node.key in turn.permits:
        permits.release(turn, node.key)


def _block(node: Node) -> CommandStep:
    assert isinstance(node.block, CommandStep)
    return node.block


def _makes(node: Node) -> type[Command]:
    assert node.makes is not None and issubclass(node.makes, Command)
    return node.makes
