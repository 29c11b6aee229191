"""Whether what may still run in a process finds what it demands: asked once, when the process comes to a new version.

`verify` has proven that every path through the new version captures what its builders demand. A process that comes
from an older one may have taken a way that does not exist there: a choice without a branch that has one now, a step
that a person skipped without an outcome. A demand is met if its value is captured, or if a step that may yield it has
not come to its end yet: that one is on the path that is left.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.engine.captured import Captured
from orchestrator.engine.plan import LOOPS, Node, Plan, Slot
from orchestrator.engine.process import NodeStatus, Process, StepStatus
from orchestrator.engine.relocation import around
from orchestrator.language.blocks import CommandStep, Named, Returns, Subsaga
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat
from orchestrator.language.waiting import captured_as

UNDERWAY: frozenset[StepStatus] = frozenset(
    ("limited", "awaiting", "backoff", "waiting", "blocked", "failed", "perhaps")
)
"""`failed` and `perhaps`: of a step that holds the process up (else nothing after it runs), and may be tried again."""
OVER: frozenset[NodeStatus] = frozenset(("done", "undoing", "undone"))


def missing_demand(plan: Plan, process: Process) -> str | None:
    """A builder that may still run and would not find what it demands, for people; None: there is none."""
    look = _Look(plan, process)
    roots = [plan.nodes[0]]
    if plan.cancelled_root is not None and not process.past_pivot:
        roots.append(plan.nodes[plan.cancelled_root])
    if plan.returns is not None and process.cause is None:
        roots.append(plan.returns)
    for root in roots:
        for node in look.ahead(root):
            for slot in look.slots(node):
                if not look.is_met(node, slot):
                    steps, wants = " or ".join(slot.steps), slot.wants.__name__
                    return (
                        f"{_title(node)} demands {wants} from {steps}, which has passed without it"
                        f" (version {plan.saga.version})"
                    )
    return None


def _title(node: Node) -> str:
    return (
        node.key
        if isinstance(node.block, Named | Returns)
        else f"a predicate of the {type(node.block).__name__.lower()}"
    )


class _Look:
    def __init__(self, plan: Plan, process: Process) -> None:
        self._plan = plan
        self._process = process

    def ahead(self, node: Node) -> Iterator[Node]:
        """The block and those in it of which a function may still be called: that has not begun, is under way, or may
        be undone."""
        yield node
        for position, number in enumerate(node.children):
            if isinstance(node.block, LOOPS):
                yield from self._rounds_ahead(node, number)
            elif not self._is_passed_over(node, position):
                yield from self.ahead(self._plan.at(number, node.scope))

    def _rounds_ahead(self, node: Node, body: int) -> Iterator[Node]:
        """Elements and rounds that have begun; of those to come, the next one stands for all."""
        state = self._process.nodes.get(node.key)
        begun = 0 if state is None else len(state.items) if isinstance(node.block, ForEach) else state.count + 1
        loop = node.block
        assert isinstance(loop, ForEach | Repeat)
        going_on = state is None or state.status == "running"
        for index in range(begun + going_on):
            yield from self.ahead(self._plan.at(body, f"{node.key}[{index}]."))

    def _is_passed_over(self, node: Node, position: int) -> bool:
        """A branch that was not taken, or whatever has not begun in what has come to its end."""
        state = self._process.nodes.get(node.key)
        if state is None:
            return False
        if isinstance(node.block, Choice):
            return position != state.count
        if isinstance(node.block, Fallback):
            return position > state.count and state.status in OVER
        child = self._plan.at(node.children[position], node.scope).key
        has_begun = child in self._process.steps or child in self._process.nodes
        return state.status in OVER and not has_begun

    def slots(self, node: Node) -> tuple[Slot, ...]:
        """What its functions that may still be called demand."""
        step, state = self._process.steps.get(node.key), self._process.nodes.get(node.key)
        found: tuple[Slot, ...] = ()
        if self._process.cause is not None and self._plan.in_body(node):
            pass  # nothing of the body begins any more
        elif isinstance(node.block, Repeat):
            found = node.slots if state is None or state.status == "running" else ()
        elif (step is None and state is None) or node.key in self._process.stuck:
            found = node.slots + tuple(slot for slots in node.branch_slots for slot in slots)
        if isinstance(node.block, CommandStep | Subsaga) and not (step is not None and step.undone):
            found += tuple(slot for slot in node.undo_slots if slot.steps != (node.name,))
        return tuple(slot for slot in found if slot.kind == "outcome" and not slot.optional and not slot.many)

    def is_met(self, place: Node, slot: Slot) -> bool:
        process, wanted = self._process, captured_as(slot.wants)
        ending = None if process.cause is None else process.cause.ending
        captured = Captured(self._plan, process.start, process.steps, process.nodes, ending, place, {})
        sources = [self._plan.by_key[name] for name in slot.steps]
        if any(outcome.type == wanted for source in sources for outcome in captured.outcomes(source)):
            return True
        return any(self._may_capture(captured.scope_of(source), source) for source in sources)

    def _may_capture(self, scope: str, source: Node) -> bool:
        """The step has not come to its end, where `scope` names the loops that it shares with the place that asks."""
        plan, process = self._plan, self._process
        loops = plan.loops(source)[scope.count(".") :]
        if loops:  # it is in a loop of its own: as long as that is under way
            source = plan.at(plan.by_key[loops[0]].number, scope)
            state = process.nodes.get(source.key)
            return state.status == "running" if state is not None else self._may_begin(source)
        here = plan.at(source.number, scope)
        step = process.steps.get(here.key)
        return step.status in UNDERWAY if step is not None and step.status != "idle" else self._may_begin(here)

    def _may_begin(self, node: Node) -> bool:
        """What is around it still goes on, and has not passed it over."""
        child, parent = node, around(self._plan, node)
        while parent is not None:
            state = self._process.nodes.get(parent.key)
            if state is not None and (state.status in OVER or self._is_passed_over(parent, child.position)):
                return False
            child, parent = parent, around(self._plan, parent)
        return True
