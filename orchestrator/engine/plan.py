"""A saga compiled for running: blocks numbered and linked to their parents, builders with their injection resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel

from contracts.message import Command, Event, Message
from orchestrator.language.blocks import Block, CommandStep, Emit, Named, OnStuck, Returns, Subsaga, children_of
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.injection import Ending, Stuck
from orchestrator.language.saga import Saga
from orchestrator.language.signature import Parameter, read_element, read_parameters, read_signature
from orchestrator.language.waiting import Approval, Wait, WaitFor, captured_as, yields_of

_Place = tuple[int, str, Block, int | None, int, tuple[int, ...]]
"""The first fields of a Node."""
LOOPS = (ForEach, Repeat, OnStuck)
PLACES_MAX = 100_000
"""Blocks of a process, each counted once for every element and round that its bounds allow: a process is one value in
memory, and one input may run through all of it."""


class PlanError(ValueError):
    """A saga cannot be compiled; `counterpoint verify` says the same with file, line and fix."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One injected parameter: where its value comes from."""

    parameter: str
    kind: Literal["start", "outcome", "ending", "stuck", "element"]
    wants: type[BaseModel]
    optional: bool
    steps: tuple[str, ...] = ()
    """For outcomes: the steps that may have captured it. For an element: the loop that it is of."""
    many: bool = False
    """All that the steps inside a `for_each` have captured, in element order."""


@dataclass(frozen=True, slots=True)
class Node:
    """One block in its place. `key` names its state: `scope`, then the block's name, or `#<number>` if it has none.

    `scope` is empty, or names the enclosing loops with their element or round: `ship[3].` (DESIGN section 3).
    """

    number: int
    key: str
    block: Block
    parent: int | None
    position: int
    """Among its siblings, from 0."""
    children: tuple[int, ...]
    makes: type[Message] | None = None
    slots: tuple[Slot, ...] = ()
    """Of its builder, predicate or list of elements."""
    branch_slots: tuple[tuple[Slot, ...], ...] = ()
    """Of a choice's predicates, in order; empty for `otherwise`."""
    undo_makes: type[Message] | None = None
    undo_slots: tuple[Slot, ...] = ()
    element: type[BaseModel] | None = None
    """Of a `for_each`."""
    scope: str = ""

    @property
    def name(self) -> str:
        """The key without elements and rounds: fit for a metric's label."""
        return self.key[len(self.scope) :]

    @property
    def index(self) -> int:
        """The element or round of the innermost enclosing loop."""
        return int(self.scope[self.scope.rindex("[") + 1 : -2])


@dataclass(frozen=True)
class Plan:
    saga: Saga
    nodes: tuple[Node, ...]
    cancelled_root: int | None
    by_key: dict[str, Node] = field(default_factory=dict)
    demanded: frozenset[str] = frozenset()
    """Steps whose outcome some later builder cannot do without: they are not skipped without one."""
    awaits: dict[str, tuple[Node, ...]] = field(default_factory=dict)
    """Blocks that wait for an event type, or for `signal/<name>`."""
    returns: Node | None = None
    """What a completed child brings home; in no other block."""
    alerts_root: int | None = None
    """The saga's `on_stuck`."""

    def wanted(self, type_name: str) -> type[BaseModel] | None:
        """What some block waits for under that type (or `signal/<name>`), or what calls the process off."""
        nodes = self.awaits.get(type_name)
        if nodes:
            block = nodes[0].block
            assert isinstance(block, WaitFor)
            return block.wants
        return self.saga.cancelled_by[0] if self.calls_off(type_name) and self.saga.cancelled_by else None

    def calls_off(self, type_name: str) -> bool:
        return self.saga.cancelled_by is not None and self.saga.cancelled_by[0].type == type_name

    @property
    def body_root(self) -> int:
        return 0

    def at(self, number: int, scope: str) -> Node:
        """The node as it stands in a scope."""
        node = self.nodes[number]
        return replace(node, scope=scope, key=scope + node.key) if scope else node

    def find(self, path: str) -> Node | None:
        """The node of a step path, such as `charge` or `ship[3].dispatch`; None if the saga has no such place."""
        if "." not in path:
            alone = self.by_key.get(path)
            return None if alone is None or self._loops[alone.number] else alone
        scope, _, name = path.rpartition(".")
        node = self.by_key.get(name)
        if node is None or tuple(part.partition("[")[0] for part in scope.split(".") if part) != self.loops(node):
            return None
        return self.at(node.number, f"{scope}." if scope else "")

    def alternatives(self, node: Node) -> tuple[tuple[Node, Node, int], ...]:
        """The fallbacks around a node, the innermost first: each with its alternative that the node is in, and how
        many loops are around it."""
        found: list[tuple[Node, Node, int]] = []
        number, parent = node.number, node.parent
        while parent is not None:
            around = self.nodes[parent]
            if isinstance(around.block, Fallback):
                found.append((around, self.nodes[number], len(self.loops(around))))
            number, parent = parent, around.parent
        return tuple(found)

    def loops(self, node: Node) -> tuple[str, ...]:
        """Names of the loops around a node, the outermost first."""
        return self._loops[node.number]

    @cached_property
    def _loops(self) -> tuple[tuple[str, ...], ...]:
        found: list[tuple[str, ...]] = []
        for node in self.nodes:
            if node.parent is None:
                found.append(())
                continue
            around = self.nodes[node.parent]  # it has been numbered before
            found.append((*found[node.parent], *((around.name,) if isinstance(around.block, LOOPS) else ())))
        return tuple(found)

    @cached_property
    def ways_up(self) -> tuple[tuple[tuple[str, int | None], ...], ...]:
        """By number, the keys of the blocks around a node, the innermost first; of a fallback, with the position of the
        alternative that the node is in. Fit for nodes that no loop is around."""
        found: list[tuple[tuple[str, int | None], ...]] = []
        for node in self.nodes:
            if node.parent is None:
                found.append(())
                continue
            around = self.nodes[node.parent]
            position = node.position if isinstance(around.block, Fallback) else None
            found.append(((around.key, position), *found[node.parent]))
        return tuple(found)

    def contains(self, block: Node, node: Node) -> bool:
        """`node` is `block` or in it, whatever their scopes."""
        number: int | None = node.number
        while number is not None and number != block.number:
            number = self.nodes[number].parent
        return number is not None

    def in_body(self, node: Node) -> bool:
        """`returns` is in no root block, and is asked about nowhere."""
        return all(root is None or node.number < root for root in (self.cancelled_root, self.alerts_root))

    def in_alerts(self, node: Node) -> bool:
        return self.alerts_root is not None and node.number >= self.alerts_root


def outcomes_of(step: CommandStep) -> tuple[type[Event], ...]:
    """Successes and refusals that the step's command names."""
    made = read_signature(step.builder).returns
    if not issubclass(made, Command):
        raise PlanError(f"step {step.name}: its builder makes {made.__name__}, which is not a command")
    return made.succeeds + made.refuses


def result_of(child: Saga) -> type[Event] | None:
    """What a completed process of the saga brings home. Raises SignatureError, PlanError."""
    if child.returns is None:
        return None
    made = read_signature(child.returns).returns
    if not issubclass(made, Event):
        raise PlanError(f"saga {child.name}: returns= makes {made.__name__}, which is not an event")
    return made


def _yields(block: CommandStep | Subsaga | Wait) -> tuple[type[BaseModel], ...]:
    """What later builders may ask for."""
    if isinstance(block, CommandStep):
        return outcomes_of(block)
    if isinstance(block, Subsaga):
        result = result_of(block.child)
        return () if result is None else (result,)
    captured = yields_of(block)
    return () if captured is None else (captured,)


def compile_saga(saga: Saga) -> Plan:
    """Raises PlanError or SignatureError."""
    producers: dict[type[BaseModel], list[str]] = {}
    for block in saga.blocks():
        if isinstance(block, CommandStep | Subsaga | WaitFor | Approval):
            for outcome in _yields(block):
                producers.setdefault(outcome, []).append(block.name)
    most = sum(places(root) for root in (saga.body, saga.cancelled, saga.on_stuck) if root is not None)
    if most > PLACES_MAX:
        raise PlanError(f"saga {saga.name}: within its bounds it may come to {most} blocks, more than {PLACES_MAX}")
    compiler = _Compiler(saga, producers)
    compiler.add(saga.body, None, 0)
    cancelled_root = len(compiler.nodes) if saga.cancelled is not None else None
    if saga.cancelled is not None:
        compiler.add(saga.cancelled, None, 0)
    result_of(saga)
    result = len(compiler.nodes) if saga.result is not None else None
    if saga.result is not None:
        compiler.add(saga.result, None, 0)
    alerts_root = len(compiler.nodes) if saga.on_stuck is not None else None
    if saga.on_stuck is not None:
        compiler.add(OnStuck(saga.on_stuck, saga.location), None, 0)
    nodes = tuple(node for node in compiler.nodes if node is not None)
    by_key = {node.key: node for node in nodes}
    demanded, awaits = frozenset(_demanded(nodes)), _awaits(nodes)
    returns = None if result is None else nodes[result]
    return Plan(saga, nodes, cancelled_root, by_key, demanded, awaits, returns, alerts_root)


def _awaits(nodes: tuple[Node, ...]) -> dict[str, tuple[Node, ...]]:
    found: dict[str, tuple[Node, ...]] = {}
    for node in nodes:
        if isinstance(node.block, WaitFor):
            wanted = captured_as(node.block.wants)
            found[wanted] = (*found.get(wanted, ()), node)
    return found


def places(block: Block) -> int:
    """The block and those inside, each counted as often as the bounds of the loops around it allow."""
    inside = sum(places(child) for child in children_of(block))
    return 1 + inside * (block.bound if isinstance(block, ForEach | Repeat) else 1)


class _Compiler:
    def __init__(self, saga: Saga, producers: dict[type[BaseModel], list[str]]) -> None:
        self._saga = saga
        self._producers = producers
        self.nodes: list[Node | None] = []
        self._elements: list[tuple[type[BaseModel], str]] = []
        """Element type and name of the `for_each` blocks around the one that is being compiled, the outermost first."""

    def add(self, block: Block, parent: int | None, position: int) -> int:
        number = len(self.nodes)
        self.nodes.append(None)  # its children are numbered after it, and it must name them
        children: tuple[int, ...] = ()
        inside = children_of(block)
        if inside:
            if isinstance(block, ForEach):
                self._elements.append((read_element(block.items), block.name))
            children = tuple(self.add(child, number, place) for place, child in enumerate(inside))
            if isinstance(block, ForEach):
                self._elements.pop()
        self.nodes[number] = self._node(number, block, parent, position, children)
        return number

    def _node(self, number: int, block: Block, parent: int | None, position: int, children: tuple[int, ...]) -> Node:
        named = block.name if isinstance(block, Named | Returns) else f"#{number}"
        place = (number, named, block, parent, position, children)
        if isinstance(block, ForEach | Repeat | Sleep):
            function = block.items if isinstance(block, ForEach) else block.until
            slots = () if function is None else self._slots(place[1], function)
            element = read_element(block.items) if isinstance(block, ForEach) else None
            return Node(*place, slots=slots, element=element)
        if isinstance(block, Choice):
            predicates = (branch.predicate for branch in block.branches)
            asked = tuple(() if one is None else self._slots(place[1], one) for one in predicates)
            return Node(*place, branch_slots=asked)
        if not isinstance(block, CommandStep | Subsaga | Emit | Returns):
            return Node(*place)
        return self._step(place, block)

    def _step(self, place: _Place, block: CommandStep | Subsaga | Emit | Returns) -> Node:
        made = read_signature(block.builder)
        if isinstance(block, Subsaga) and made.returns is not block.child.starts_on:
            wanted = f"{block.child.starts_on.__name__}, which starts {block.child.name}"
            raise PlanError(f"subsaga {block.name}: its builder makes {made.returns.__name__}, not {wanted}")
        if isinstance(block, Emit) and not issubclass(made.returns, Event):
            raise PlanError(f"emit {block.name}: its builder makes {made.returns.__name__}, which is not an event")
        slots = self._slots(block.name, block.builder)
        if isinstance(block, Emit | Returns) or block.undo is None:
            return Node(*place, made.returns, slots)
        undo = read_signature(block.undo.builder)
        if not issubclass(undo.returns, Command):
            raise PlanError(f"undo of {block.name}: its builder makes {undo.returns.__name__}, which is not a command")
        undo_slots = tuple(self._slot(block.name, parameter, own=block.name) for parameter in undo.parameters)
        return Node(*place, made.returns, slots, undo_makes=undo.returns, undo_slots=undo_slots)

    def _slots(self, name: str, function: Callable[..., Any]) -> tuple[Slot, ...]:
        return tuple(self._slot(name, parameter, own=None) for parameter in read_parameters(function))

    def _slot(self, name: str, parameter: Parameter, *, own: str | None) -> Slot:
        """`own`: in the undo of that step, its own outcome comes before another step's of the same type."""
        wants = parameter.wants
        if wants is Ending:
            return Slot(parameter.name, "ending", BaseModel, parameter.optional)
        if wants is Stuck:
            return Slot(parameter.name, "stuck", BaseModel, parameter.optional)
        assert issubclass(wants, BaseModel)
        loop = next((loop for element, loop in reversed(self._elements) if element is wants), None)
        if loop is not None and parameter.source in (None, loop) and not parameter.many:
            return Slot(parameter.name, "element", wants, parameter.optional, (loop,))
        if wants is self._saga.starts_on and parameter.source is None and not parameter.many:
            return Slot(parameter.name, "start", wants, parameter.optional)
        steps = tuple(self._producers.get(wants, ()))
        if parameter.source is not None:
            steps = tuple(step for step in steps if step == parameter.source)
        elif own in steps:
            steps = (own,)
        if not steps:
            what = wants.type if issubclass(wants, Message) else wants.__name__
            raise PlanError(f"step {name}: nothing yields {what} for parameter {parameter.name!r}")
        return Slot(parameter.name, "outcome", wants, parameter.optional, steps, parameter.many)


def _demanded(nodes: tuple[Node, ...]) -> Iterator[str]:
    for node in nodes:
        for slot in (*node.slots, *node.undo_slots, *(slot for slots in node.branch_slots for slot in slots)):
            own_undo = slot in node.undo_slots and slot.steps == (node.key,)
            if slot.kind == "outcome" and not slot.optional and not slot.many and not own_undo:
                yield from slot.steps
