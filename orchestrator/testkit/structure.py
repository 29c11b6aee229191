"""What the written saga says about two places in it, without asking the engine: which one comes first, and which
blocks have finished, given the steps that have.

A place is a block's number and its scope (`ship[1].`). Predicates, elements and rounds are read off the names of the
laboratory's functions (see lab_flow.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.engine.plan import LOOPS, Node, Plan
from orchestrator.engine.process import Process
from orchestrator.language.blocks import CommandStep, Parallel, Pivot, Sequence, Subsaga
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.testkit.lab_flow import MOMENT


@dataclass(frozen=True, slots=True)
class Around:
    """A block around a place, in its scope, and which of its children, elements or rounds the place is in."""

    number: int
    scope: str
    branch: int


@dataclass(slots=True)
class Structure:
    plan: Plan
    finished_steps: set[str] = field(default_factory=set)
    """Paths of steps and emits that have succeeded or were skipped, of sleeps that are over."""
    excused: set[str] = field(default_factory=set)
    """Keys of blocks for which a person vouched."""
    reached: dict[str, int] = field(default_factory=dict)
    """By key of a repeat or fallback: the last round or alternative that anything was sent in."""
    now_ms: int = 0
    _chains: dict[str, tuple[Around, ...]] = field(default_factory=dict)

    def follows(self, plan: Plan, after: Process) -> None:
        """Blocks without names have other keys in another version."""
        self.plan = plan
        self._chains.clear()
        self.reached = {
            key: state.count
            for key, state in after.nodes.items()
            if (node := plan.find(key)) is not None and isinstance(node.block, Repeat | Fallback)
        }

    def node(self, path: str) -> Node:
        node = self.plan.find(path)
        assert node is not None, f"{path} is no place of the saga"
        return node

    def chain(self, path: str) -> tuple[Around, ...]:
        """All blocks around a place, the outermost first."""
        if path not in self._chains:
            self._chains[path] = tuple(reversed(list(self._around(self.node(path)))))
        return self._chains[path]

    def order(self, path: str) -> tuple[int, ...]:
        """Of two places that are reached in one turn, the smaller is reached first, where one waits for the other."""
        return tuple(around.branch for around in self.chain(path))

    def _around(self, node: Node) -> Iterator[Around]:
        number, scope = node.number, node.scope
        while (parent := self.plan.nodes[number].parent) is not None:
            branch = self.plan.nodes[number].position
            if isinstance(self.plan.nodes[parent].block, LOOPS):
                inner = scope[:-1].rpartition(".")[2]
                branch, scope = int(inner.partition("[")[2][:-1]), scope.removesuffix(f"{inner}.")
            yield Around(parent, scope, branch)
            number = parent

    def parting(self, first: str, second: str) -> tuple[int, bool]:
        """At which depth two places part (-1: nowhere), and whether there the first must have finished before the
        second begins."""
        for depth, (one, other) in enumerate(zip(self.chain(first), self.chain(second), strict=False)):
            if one == other:
                continue
            if (one.number, one.scope) != (other.number, other.scope):
                return depth, False
            return depth, one.branch < other.branch and self.ordered(one.number)
        return -1, False

    def ordered(self, number: int) -> bool:
        block = self.plan.nodes[number].block
        return isinstance(block, Sequence | Repeat) or (isinstance(block, ForEach) and block.concurrency == 1)

    def chosen(self, number: int, scope: str) -> int | None:
        """The branch that a choice must take."""
        block = self.plan.nodes[number].block
        assert isinstance(block, Choice)
        for place, branch in enumerate(block.branches):
            name = "always" if branch.predicate is None else branch.predicate.__name__
            if name == "always" or (name == "odd" and self._element(number, scope) % 2 == 1):
                return place
        return None

    def _element(self, number: int, scope: str) -> int:
        """The number of the innermost `for_each`'s element."""
        each = [loop for loop in self.plan.loops(self.plan.nodes[number]) if self._is_for_each(loop)]
        part = next(part for part in scope.split(".") if part.startswith(f"{each[-1]}["))
        return int(part.partition("[")[2][:-1])

    def _is_for_each(self, loop: str) -> bool:
        return isinstance(self.plan.by_key[loop].block, ForEach)

    def finished(self, number: int, scope: str) -> bool:
        node, block = self.plan.nodes[number], self.plan.nodes[number].block
        key = scope + node.key
        if key in self.excused or isinstance(block, Pivot):
            return True
        if isinstance(block, Sequence | Parallel):
            return all(self.finished(child, scope) for child in node.children)
        if isinstance(block, Choice):
            chosen = self.chosen(number, scope)
            return chosen is None or self.finished(node.children[chosen], scope)
        if isinstance(block, ForEach):
            return all(self.finished(node.children[0], f"{key}[{index}].") for index in range(count_of(block)))
        if isinstance(block, Repeat):
            return self._repeat_finished(node, block, key)
        if isinstance(block, Fallback):
            return any(self.finished(child, scope) for child in node.children[self.reached.get(key, 0) :])
        if isinstance(block, Sleep):
            elapsed = block.duration is None and self.now_ms >= MOMENT.timestamp() * 1000
            return key in self.finished_steps or elapsed or (block.duration is not None and not block.duration)
        return key in self.finished_steps

    def _repeat_finished(self, node: Node, block: Repeat, key: str) -> bool:
        last = self.reached.get(key, 0)
        around = f"{key}[{last}]."
        enough = last + 1 >= count_of(block) or any(one.startswith(around) for one in self.excused)
        return enough and self.finished(node.children[0], around)

    def required(self, number: int, scope: str, after: Process) -> Iterator[str]:
        """Paths of all commands and children that must have been done once the block is."""
        node, block = self.plan.nodes[number], self.plan.nodes[number].block
        key = scope + node.key
        if isinstance(block, Sequence | Parallel):
            inside = [(child, scope) for child in node.children]
        elif isinstance(block, Choice):
            chosen = None if key in self.excused else self.chosen(number, scope)
            inside = [] if chosen is None else [(node.children[chosen], scope)]
        elif isinstance(block, ForEach):
            elements = 0 if key in self.excused else count_of(block)
            inside = [(node.children[0], f"{key}[{index}].") for index in range(elements)]
        elif isinstance(block, Repeat):
            inside = [(node.children[0], f"{key}[{index}].") for index in range(self.reached.get(key, 0) + 1)]
        elif isinstance(block, Fallback):
            inside = [(node.children[after.nodes[key].count], scope)]
        else:
            inside = []
            if isinstance(block, CommandStep | Subsaga):
                yield key
        for child, where in inside:
            yield from self.required(child, where, after)

    def given_up(self, path: str, after: Process) -> int:
        """The depth of the innermost fallback that has given up the alternative that the place is in; -1: none has."""
        found = -1
        for depth, around in enumerate(self.chain(path)):
            node = self.plan.nodes[around.number]
            state = after.nodes.get(around.scope + node.key)
            if isinstance(node.block, Fallback) and state is not None and state.count > around.branch:
                found = depth
        return found


def count_of(block: ForEach | Repeat) -> int:
    """How many elements or rounds the laboratory's function makes of it."""
    function = block.items if isinstance(block, ForEach) else block.until
    return int(function.__name__.rpartition("_")[2])
