"""Walks a process' state through two versions of its saga and says where each part of it belongs in the newer one.

What has begun must be in both, in the same place: the past cannot be rewritten. What is new may only stand where the
process has not come yet, since nothing that stands before would ever run. A loop's elements and rounds are walked one
by one: some have passed what others have not.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.engine.blocks.choice import NONE
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.correspondence import difference, partner, title_of
from orchestrator.engine.plan import LOOPS, Node, Plan
from orchestrator.engine.process import NodeState, Process
from orchestrator.language.blocks import Named, Parallel, Sequence
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat
from orchestrator.language.migration import Migration

_UNDO = "/undo"
FINISHED = frozenset(("done", "undone"))


class NotMigratable(ValueError):
    """The process cannot be moved; the text says why, for the person who asked."""


def around(plan: Plan, node: Node) -> Node | None:
    """The block around a node, in its own scope."""
    if node.parent is None:
        return None
    above, scope = plan.nodes[node.parent], node.scope
    if isinstance(above.block, LOOPS):
        scope = scope[: scope.rindex(above.name + "[")]
    return plan.at(above.number, scope)


class Relocation:
    """`keys`: old key -> new key of everything that has a state. `nodes`: states of blocks, by their new keys.

    Raises:
        NotMigratable: something that has begun is not in the newer version, or not in the same place.
    """

    def __init__(self, old: Plan, new: Plan, migration: Migration, process: Process) -> None:
        self._old = old
        self._new = new
        self._migration = migration
        self._process = process
        self._touched = self._places_touched()
        self.keys: dict[str, str] = {}
        self.nodes: dict[str, NodeState] = {}
        self._carry(old.nodes[0], new.nodes[0])
        if old.cancelled_root is not None and self._has_begun(old.nodes[old.cancelled_root]):
            if new.cancelled_root is None:
                raise NotMigratable(f"its last block has begun, and {self._newer} has no cancelled=")
            self._carry(old.nodes[old.cancelled_root], new.nodes[new.cancelled_root])

    @property
    def _newer(self) -> str:
        return f"version {self._new.saga.version}"

    def _places_touched(self) -> frozenset[tuple[int, str]]:
        """Number and scope of all blocks that have a state, and of all around them."""
        process, found = self._process, set()
        stuck = (address.removesuffix(_UNDO) for address in process.stuck)
        for key in (*process.steps, *process.nodes, *stuck):
            node = self._old.find(key)
            while node is not None and (node.number, node.scope) not in found:
                found.add((node.number, node.scope))
                node = around(self._old, node)
        return frozenset(found)

    def _has_begun(self, node: Node) -> bool:
        return (node.number, node.scope) in self._touched

    def _carry(self, old: Node, new: Node) -> None:
        """`old` and what is in it, if it has begun."""
        if not self._has_begun(old):
            return
        self._compare(old, new)
        self.keys[old.key] = new.key
        state = self._process.nodes.get(old.key)
        if state is None:
            return
        self.nodes[new.key] = state
        match old.block:
            case Sequence() | Fallback():
                self._in_order(old, new, state)
            case Parallel():
                self._side_by_side(old, new, state)
            case Choice():
                self._chosen(old, new, state)
            case ForEach():
                self._elements(old, new, state)
            case Repeat():
                self._rounds(old, new, range(state.count + 1))

    def _compare(self, old: Node, new: Node) -> None:
        why = difference(old, new, self._migration)
        if why is not None:
            raise NotMigratable(f"it has passed {title_of(old)}, but between the versions {why}")

    def _in_order(self, old: Node, new: Node, state: NodeState) -> None:
        """A sequence's children, a fallback's alternatives: up to the last one that has begun all stay as they are."""
        before, after = self._children(self._old, old), self._children(self._new, new)
        reach = max((child.position for child in before if self._has_begun(child)), default=-1)
        if state.status in ("running", "undoing"):
            reach = max(reach, state.count)
        for child in before[: reach + 1]:
            if child.position >= len(after):
                raise NotMigratable(f"it has passed {title_of(child)}, which is not in its place in {self._newer}")
            here = after[child.position]
            self._refuse_insertion(child, here, before)
            self._compare(child, here)
            self._carry(child, here)
        if isinstance(old.block, Sequence) and state.status == "done" and len(after) > len(before):
            added = title_of(after[len(before)])
            raise NotMigratable(f"{added} follows in {title_of(old)}, which it has finished: it would never run")

    def _refuse_insertion(self, old: Node, new: Node, before: tuple[Node, ...]) -> None:
        """Say it plainly where something new stands before the place that the process has reached."""
        known = {self._migration.new_name(name) for name in self._old.by_key}
        if isinstance(new.block, Named) and new.block.name not in known:
            raise NotMigratable(
                f"{new.block.name} is new in {self._newer} and stands at or before {title_of(old)}, which"
                " it has passed: that would never run"
            )

    def _side_by_side(self, old: Node, new: Node, state: NodeState) -> None:
        """Branches of a parallel begin together: as many as there were, in whatever order."""
        before, after = self._children(self._old, old), self._children(self._new, new)
        pairs = self._partners(old, before, after)
        if state.status != "undone" and len(after) != len(before):
            taken = {other.number for _, other in pairs}
            added = ", ".join(title_of(one) for one in after if one.number not in taken)
            what = f"{added} is a new branch of it" if added else f"it has {len(after)} branches"
            raise NotMigratable(f"{title_of(old)} has begun, and in {self._newer} {what}: it would never run")
        for child, other in pairs:
            self._carry(child, other)

    def _partners(self, old: Node, before: Iterable[Node], after: tuple[Node, ...]) -> list[tuple[Node, Node]]:
        pairs: list[tuple[Node, Node]] = []
        for child in before:
            if not self._has_begun(child):
                continue
            other = partner(child, after, self._migration)
            if other is None or any(other.number == taken.number for _, taken in pairs):
                raise NotMigratable(
                    f"it has passed {title_of(child)}, which is no branch of {title_of(old)} in {self._newer}"
                )
            pairs.append((child, other))
        return pairs

    def _chosen(self, old: Node, new: Node, state: NodeState) -> None:
        """What was decided stays decided; the branch may stand elsewhere among the others."""
        if state.count == NONE:
            return
        taken = self._children(self._old, old)[state.count]
        for child, other in self._partners(old, [taken], self._children(self._new, new)):
            self.nodes[new.key] = NodeState(status=state.status, count=other.position)
            self._carry(child, other)

    def _elements(self, old: Node, new: Node, state: NodeState) -> None:
        assert new.element is not None
        for index, item in enumerate(state.items):
            try:
                parse_payload(new.element, item)
            except PayloadInvalid as error:
                raise NotMigratable(
                    f"element {index} of {old.key} does not fit {new.element.__name__} of {self._newer}: {error}"
                ) from None
        self._rounds(old, new, range(len(state.items)))

    def _rounds(self, old: Node, new: Node, indexes: range) -> None:
        for index in indexes:
            self._carry(
                self._old.at(old.children[0], f"{old.key}[{index}]."),
                self._new.at(new.children[0], f"{new.key}[{index}]."),
            )

    @staticmethod
    def _children(plan: Plan, node: Node) -> tuple[Node, ...]:
        return tuple(plan.at(child, node.scope) for child in node.children)
