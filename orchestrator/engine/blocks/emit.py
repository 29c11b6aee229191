"""Transitions of `emit`: publish an event. It has no outcome to wait for and nothing to undo."""

from __future__ import annotations

from contracts.message import Event
from orchestrator.engine.building import BuilderFailed, build
from orchestrator.engine.effects import EffectTooLarge, emit_effect
from orchestrator.engine.plan import Node
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import Emit


def start(turn: Turn, node: Node) -> None:
    event = node.makes
    assert isinstance(node.block, Emit) and event is not None and issubclass(event, Event)
    try:
        made = build(node.block.builder, event, node.slots, turn.captured(node))
        effect = emit_effect(
            event,
            made.key,
            made.data,
            process=turn.before.id,
            name=node.key,
            now_ms=turn.now_ms,
            traceparent=turn.before.start.traceparent,
            causation=turn.item.envelope.id,
        )
    except (BuilderFailed, EffectTooLarge) as error:
        turn.change(node, status="blocked", detail=str(error))
        turn.block(node.key, str(error))
        return
    turn.send(effect)
    turn.change(node, status="emitted", detail=None)
    turn.done(node)


def child_done(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("an emit has no children")


def undo(turn: Turn, node: Node) -> None:
    turn.unblock(node.key)
    turn.undone(node)


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("an emit has no children")
