"""One decision in the making: a working copy of a process, and the moves that blocks make on it.

Blocks call `start`, `done`, `fail`, `undo` and `undone`; the interpreter runs what these queue until nothing is left.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

from orchestrator.engine.decision import Alert, Measure
from orchestrator.engine.effects import Effect
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Node, Plan
from orchestrator.engine.process import Cause, NodeState, NodeStatus, Process, StepState
from orchestrator.language.injection import Ending, EndingReason

Move = Literal["start", "done", "undo", "undone"]
DEADLINE_TIMER = "deadline"


class Turn:
    """Mutable, lives for one input."""

    def __init__(self, plan: Plan, process: Process, item: Input, now_ms: int) -> None:
        self.plan = plan
        self.before = process
        self.item = item
        self.now_ms = now_ms
        self.steps = dict(process.steps)
        self.nodes = dict(process.nodes)
        self.timers = dict(process.timers)
        self.stuck = dict(process.stuck)
        self.cause = process.cause
        self.ended = process.ended
        self.past_pivot = process.past_pivot
        self.deadline_passed = process.deadline_passed
        self.queue: deque[tuple[Move, Node]] = deque()
        self.effects: list[Effect] = []
        self.notes: list[str] = []
        self.alerts: list[Alert] = []
        self.measures: list[Measure] = []

    # What blocks ask for.

    def start(self, node: Node) -> None:
        self.queue.append(("start", node))

    def done(self, node: Node) -> None:
        """The node has finished going forward; its parent hears of it."""
        self.queue.append(("done", node))

    def undo(self, node: Node) -> None:
        self.queue.append(("undo", node))

    def undone(self, node: Node) -> None:
        """Nothing of the node is left to undo; its parent hears of it."""
        self.queue.append(("undone", node))

    def fail(self, node: Node, reason: EndingReason, detail: str | None) -> None:
        """A step cannot succeed: past the pivot a person must decide, before it everything is undone."""
        if self.past_pivot or not self.plan.in_body(node):
            self.block(node.key, reason)
        else:
            self.compensate(Cause(reason=reason, step=node.key, detail=detail))

    def compensate(self, cause: Cause) -> None:
        """Begin to undo the whole body; only the first cause counts."""
        if self.cause is not None:
            return
        self.cause = cause
        self.timers.pop(DEADLINE_TIMER, None)
        where = f" of {cause.step}" if cause.step else ""
        self.notes.append(f"everything is undone, because{where}: {cause.reason}")
        self.undo(self.plan.nodes[self.plan.body_root])

    def block(self, address: str, reason: str) -> None:
        """Automatic means are exhausted at `address`: a person decides."""
        self.stuck[address] = reason
        self.notes.append(f"{address} is stuck: {reason}")

    def unblock(self, address: str) -> None:
        self.stuck.pop(address, None)

    # State.

    def step(self, node: Node) -> StepState:
        return self.steps.get(node.key) or StepState()

    def change(self, node: Node, **changes: object) -> StepState:
        """Replace fields of a step's state; returns the new one."""
        state = msgspec.structs.replace(self.step(node), **changes)
        self.steps[node.key] = state
        return state

    def node_state(self, node: Node) -> NodeState | None:
        return self.nodes.get(node.key)

    def set_node(self, node: Node, status: NodeStatus, count: int = 0) -> None:
        self.nodes[node.key] = NodeState(status=status, count=count)

    def ending(self) -> Ending | None:
        return None if self.cause is None else Ending(self.cause.reason, self.cause.step)

    def set_timer(self, timer_id: str, due_ms: int) -> None:
        self.timers[timer_id] = due_ms

    def clear_timer(self, timer_id: str) -> None:
        self.timers.pop(timer_id, None)

    def send(self, effect: Effect) -> None:
        self.effects.append(effect)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def parent(self, node: Node) -> Node | None:
        return None if node.parent is None else self.plan.nodes[node.parent]

    def child(self, node: Node, position: int) -> Node:
        return self.plan.nodes[node.children[position]]

    def measure_step(self, node: Node, outcome: str) -> None:
        """Once per settled step: from its first send to now."""
        tries = self.step(node).tries
        if tries:
            took = self.now_ms - tries[0].sent_at_ms
            self.measures.append(Measure("step", self.plan.saga.name, node.key, outcome, took))
