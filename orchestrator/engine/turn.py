"""One decision in the making: a working copy of a process, and the moves that blocks make on it.

Blocks call `start`, `done`, `fail`, `undo` and `undone`; the interpreter runs what these queue until nothing is left.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

from orchestrator.engine.captured import Captured
from orchestrator.engine.decision import Alert, Measure, Reason
from orchestrator.engine.effects import Effect
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import LOOPS, Node, Plan
from orchestrator.engine.process import Cause, NodeState, NodeStatus, Outcome, Process, StepState
from orchestrator.language.blocks import ON_STUCK
from orchestrator.language.flow import Fallback
from orchestrator.language.injection import CauseReason, Ending, EndingReason
from orchestrator.language.saga import RETURNS

Move = Literal["start", "done", "failed", "undo", "undone"]
DEADLINE_TIMER = "deadline"
IDLE = StepState()


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
        self.early = process.early
        self.seen = process.seen
        self.parentage = process.parent
        self.permits = process.permits
        self.starting = False
        """The input is the one that starts the process."""
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
        """A block cannot succeed: the next alternative of a fallback around it, else past the pivot a person must
        decide, else everything is undone. A round too many of an alert is just its end."""
        caught = self._abandoned_alternative(node)
        if self.plan.in_alerts(node):
            self.note(f"{node.key}: {detail or reason}")
            self.change_node(node, status="done")
            self.done(node)
        elif caught is not None:
            self.notes.append(f"{node.key}: {detail or reason}; the next alternative is tried")
            self.queue.appendleft(("failed", caught))  # before anything else begins in there
        elif self.past_pivot or not self.plan.in_body(node):
            self.block(node.key, reason)
        else:
            self.compensate(Cause(reason=reason, step=node.key, detail=detail))

    def _abandoned_alternative(self, node: Node) -> Node | None:
        """The alternative that `node` is in and that is given up, if a fallback around it has another one."""
        child, parent = node, self.parent(node)
        while parent is not None:
            state = self.node_state(parent)
            if isinstance(parent.block, Fallback) and state is not None and state.status == "running":
                last = len(parent.children) - 1
                if child.position == state.count and child.position < last:
                    return child
            child, parent = parent, self.parent(parent)
        return None

    def alive(self, node: Node) -> bool:
        """Everything around the node still goes forward, and no fallback has given it up: it may begin, and its end
        counts."""
        if not node.scope:
            for key, position in self.plan.ways_up[node.number]:
                found = self.nodes.get(key)
                if found is None or found.status != "running" or position not in (None, found.count):
                    return False
            return True
        number, scope = node.number, node.scope
        while (parent := self.plan.nodes[number].parent) is not None:
            around = self.plan.nodes[parent]
            if isinstance(around.block, LOOPS):
                scope = scope[: scope.rindex(around.name + "[")]
            state = self.nodes.get(scope + around.key)
            if state is None or state.status != "running":
                return False
            if isinstance(around.block, Fallback) and state.count != self.plan.nodes[number].position:
                return False
            number = parent
        return True

    def compensate(self, cause: Cause) -> None:
        """Begin to undo the whole body; only the first cause counts."""
        if self.cause is not None:
            return
        self.cause = cause
        self.timers.pop(DEADLINE_TIMER, None)
        self.unblock(RETURNS)
        where = f" of {cause.step}" if cause.step else ""
        self.notes.append(f"everything is undone, because{where}: {cause.reason}")
        self.undo(self.plan.nodes[self.plan.body_root])

    @property
    def over(self) -> bool:
        """As `Process.over`, as things are now."""
        return self.ended is not None and (self.parentage is None or self.parentage.released)

    def call_off(self, by: CauseReason = "operator") -> Reason | None:
        """Somebody has called the process off. A reason: it is too late for that."""
        if self.cause is not None or self.ended is not None:
            return "already-ending"
        if self.past_pivot:
            return "past-pivot"
        self.compensate(Cause(reason=by))
        return None

    def block(self, address: str, reason: str) -> None:
        """Automatic means are exhausted at `address`: a person decides. In an alert, where a person is called for
        already, it only ends the alert."""
        if address.startswith(f"{ON_STUCK}["):
            self.alerts.append("on-stuck-failed")
            self.notes.append(f"{address} cannot alert anybody: {reason}")
            self.end_alerts()
            return
        self.stuck[address] = reason
        self.notes.append(f"{address} is stuck: {reason}")

    def unblock(self, address: str) -> None:
        self.stuck.pop(address, None)

    def end_alerts(self) -> None:
        """Give up what `on_stuck` still does: nothing of it is left but how often it has begun."""
        prefix = f"{ON_STUCK}["
        for kept in (self.steps, self.nodes, self.timers):
            for key in [key for key in kept if key.startswith(prefix)]:
                kept.pop(key)
        state = self.nodes.get(ON_STUCK)
        if state is not None:
            self.nodes[ON_STUCK] = NodeState(status="done", count=state.count)

    # State.

    def step(self, node: Node) -> StepState:
        return self.steps.get(node.key, IDLE)

    def path(self, node: Node) -> str:
        """The step's path as its commands' ids have it: a migration may have renamed it since."""
        return self.step(node).sent_as or node.key

    def change(self, node: Node, **changes: object) -> StepState:
        """Replace fields of a step's state; returns the new one."""
        state = msgspec.structs.replace(self.step(node), **changes)
        self.steps[node.key] = state
        return state

    def finished(self, node: Node) -> bool:
        """It has begun and come to its end, going forward."""
        step, block = self.steps.get(node.key), self.nodes.get(node.key)
        if step is not None:
            return not step.undoing and step.status in ("succeeded", "skipped", "emitted")
        return block is not None and block.status == "done"

    def node_state(self, node: Node) -> NodeState | None:
        return self.nodes.get(node.key)

    def set_node(self, node: Node, status: NodeStatus, count: int = 0) -> None:
        self.nodes[node.key] = NodeState(status=status, count=count)

    def change_node(self, node: Node, **changes: object) -> NodeState:
        """Replace fields of a block's state; returns the new one."""
        state = msgspec.structs.replace(self.nodes[node.key], **changes)
        self.nodes[node.key] = state
        return state

    def captured(self, node: Node, own: dict[str, Outcome | None] | None = None) -> Captured:
        """What the functions of `node` are injected from. `own` overrides what steps have captured, by key."""
        return Captured(self.plan, self.before.start, self.steps, self.nodes, self.ending(), node, own or {})

    def ending(self) -> Ending | None:
        return None if self.cause is None else self.cause.ending

    def set_timer(self, timer_id: str, due_ms: int) -> None:
        self.timers[timer_id] = due_ms

    def clear_timer(self, timer_id: str) -> None:
        self.timers.pop(timer_id, None)

    def send(self, effect: Effect) -> None:
        self.effects.append(effect)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def parent(self, node: Node) -> Node | None:
        """The block around it, in the same scope; around a loop's body, the loop in its own."""
        if node.parent is None:
            return None
        scope = node.scope
        if isinstance(self.plan.nodes[node.parent].block, LOOPS):
            scope = scope[: scope.rindex(self.plan.nodes[node.parent].name + "[")]
        return self.plan.at(node.parent, scope)

    def child(self, node: Node, position: int) -> Node:
        return self.plan.at(node.children[position], node.scope)

    def round(self, node: Node, index: int) -> Node:
        """A loop's body for one element or round, counted from 0."""
        return self.plan.at(node.children[0], f"{node.key}[{index}].")

    def measure_step(self, node: Node, outcome: str) -> None:
        """Once per settled step: from its first send to now."""
        tries = self.step(node).tries
        if tries:
            took = self.now_ms - tries[0].sent_at_ms
            self.measures.append(Measure("step", self.plan.saga.name, node.name, outcome, took))
