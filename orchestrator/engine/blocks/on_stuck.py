"""Transitions of `on_stuck`: the alerts of a process that waits for a person, once for each time that it is stuck.

They begin when a process that was not stuck is, or is so at other places than before, and are given up at once when it
is not stuck any more. They never hold the process up and never make it stuck: what goes wrong in them is noted, raises
an alert and ends them (`Turn.block`). State: `count`: how often they have begun; it numbers their scope,
`on_stuck[2].`, from 1; `items`: what a builder is told as `Stuck`, as JSON. Nothing is left of what is over.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orchestrator.engine.plan import Node
from orchestrator.engine.process import NodeState, Process
from orchestrator.engine.turn import Turn
from orchestrator.language.blocks import ON_STUCK
from orchestrator.language.injection import Stuck

_PREFIX = f"{ON_STUCK}["


def follow(turn: Turn) -> bool:
    """Begin or give up the alerts, as the turn demands. True: something has begun."""
    if turn.plan.alerts_root is None:
        return False
    if not turn.stuck:
        if turn.before.stuck:
            turn.end_alerts()
        return False
    if turn.before.stuck.keys() & turn.stuck.keys():
        return False
    _begin(turn)
    return True


def begin_anew(turn: Turn) -> None:
    """The process has come to another version while it was stuck."""
    if turn.plan.alerts_root is not None and turn.stuck:
        _begin(turn)


def _begin(turn: Turn) -> None:
    turn.end_alerts()
    assert turn.plan.alerts_root is not None
    start(turn, turn.plan.nodes[turn.plan.alerts_root])


def start(turn: Turn, node: Node) -> None:
    before = turn.nodes.get(ON_STUCK)
    number = 1 if before is None else before.count + 1
    address, reason = next(iter(turn.stuck.items()))
    told = Stuck(address, reason, datetime.fromtimestamp(turn.now_ms / 1000, UTC), number)
    turn.nodes[ON_STUCK] = NodeState(status="running", count=number, items=(msgspec.json.encode(told),))
    turn.start(turn.round(node, number))


def child_done(turn: Turn, node: Node, child: Node) -> None:
    turn.end_alerts()


def undo(turn: Turn, node: Node) -> None:
    raise AssertionError("alerts are not undone")


def child_undone(turn: Turn, node: Node, child: Node) -> None:
    raise AssertionError("alerts are not undone")


def without_alerts(process: Process) -> Process:
    """The process as it is when they are over."""
    nodes = {key: state for key, state in process.nodes.items() if not key.startswith(_PREFIX)}
    if ON_STUCK in nodes:
        nodes[ON_STUCK] = NodeState(status="done", count=nodes[ON_STUCK].count)
    return msgspec.structs.replace(
        process,
        nodes=nodes,
        steps={key: state for key, state in process.steps.items() if not key.startswith(_PREFIX)},
        timers={timer: due_ms for timer, due_ms in process.timers.items() if not timer.startswith(_PREFIX)},
    )
