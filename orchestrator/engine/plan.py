"""A saga compiled for running: blocks numbered and linked to their parents, builders with their injection resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from contracts.message import Command, Event, Message
from orchestrator.language.blocks import Block, CommandStep, Emit, Parallel, Sequence
from orchestrator.language.injection import Ending
from orchestrator.language.saga import Saga
from orchestrator.language.signature import Parameter, read_signature


class PlanError(ValueError):
    """A saga cannot be compiled; `counterpoint verify` says the same with file, line and fix."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One injected parameter: where its value comes from."""

    parameter: str
    kind: Literal["start", "outcome", "ending"]
    wants: type[Message]
    optional: bool
    steps: tuple[str, ...] = ()
    """For outcomes: the steps that may have captured it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One block in its place. `key` names its state: a step's name, or `#<number>` for a block without one."""

    number: int
    key: str
    block: Block
    parent: int | None
    position: int
    """Among its siblings, from 0."""
    children: tuple[int, ...]
    makes: type[Message] | None = None
    slots: tuple[Slot, ...] = ()
    undo_makes: type[Message] | None = None
    undo_slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Plan:
    saga: Saga
    nodes: tuple[Node, ...]
    cancelled_root: int | None
    by_key: dict[str, Node] = field(default_factory=dict)
    demanded: frozenset[str] = frozenset()
    """Steps whose outcome some later builder cannot do without: they are not skipped without one."""

    @property
    def body_root(self) -> int:
        return 0

    def in_body(self, node: Node) -> bool:
        return self.cancelled_root is None or node.number < self.cancelled_root


def outcomes_of(step: CommandStep) -> tuple[type[Event], ...]:
    """Successes and refusals that the step's command names."""
    made = read_signature(step.builder).returns
    if not issubclass(made, Command):
        raise PlanError(f"step {step.name}: its builder makes {made.__name__}, which is not a command")
    return made.succeeds + made.refuses


def compile_saga(saga: Saga) -> Plan:
    """Raises PlanError or SignatureError."""
    producers: dict[type[Message], list[str]] = {}
    for step in saga.steps():
        if isinstance(step, CommandStep):
            for outcome in outcomes_of(step):
                producers.setdefault(outcome, []).append(step.name)
    compiler = _Compiler(saga, producers)
    compiler.add(saga.body, None, 0)
    cancelled_root = len(compiler.nodes) if saga.cancelled is not None else None
    if saga.cancelled is not None:
        compiler.add(saga.cancelled, None, 0)
    nodes = tuple(node for node in compiler.nodes if node is not None)
    return Plan(saga, nodes, cancelled_root, {node.key: node for node in nodes}, frozenset(_demanded(nodes)))


class _Compiler:
    def __init__(self, saga: Saga, producers: dict[type[Message], list[str]]) -> None:
        self._saga = saga
        self._producers = producers
        self.nodes: list[Node | None] = []

    def add(self, block: Block, parent: int | None, position: int) -> int:
        number = len(self.nodes)
        self.nodes.append(None)  # its children are numbered after it, and it must name them
        children: tuple[int, ...] = ()
        if isinstance(block, Sequence | Parallel):
            children = tuple(self.add(child, number, place) for place, child in enumerate(block.children))
        self.nodes[number] = self._node(number, block, parent, position, children)
        return number

    def _node(self, number: int, block: Block, parent: int | None, position: int, children: tuple[int, ...]) -> Node:
        if not isinstance(block, CommandStep | Emit):
            return Node(number, f"#{number}", block, parent, position, children)
        made = read_signature(block.builder)
        if isinstance(block, Emit) and not issubclass(made.returns, Event):
            raise PlanError(f"emit {block.name}: its builder makes {made.returns.__name__}, which is not an event")
        slots = tuple(self._slot(block, parameter, own=False) for parameter in made.parameters)
        if isinstance(block, Emit) or block.undo is None:
            return Node(number, block.name, block, parent, position, children, made.returns, slots)
        undo = read_signature(block.undo.builder)
        if not issubclass(undo.returns, Command):
            raise PlanError(f"undo of {block.name}: its builder makes {undo.returns.__name__}, which is not a command")
        undo_slots = tuple(self._slot(block, parameter, own=True) for parameter in undo.parameters)
        return Node(
            number, block.name, block, parent, position, children, made.returns, slots, undo.returns, undo_slots
        )

    def _slot(self, step: CommandStep | Emit, parameter: Parameter, *, own: bool) -> Slot:
        """`own`: in an undo, the step's own outcome comes before another step's of the same type."""
        wants = parameter.wants
        if wants is Ending:
            return Slot(parameter.name, "ending", Message, parameter.optional)
        assert issubclass(wants, Message)
        if wants is self._saga.starts_on and parameter.source is None:
            return Slot(parameter.name, "start", wants, parameter.optional)
        steps = tuple(self._producers.get(wants, ()))
        if parameter.source is not None:
            steps = tuple(name for name in steps if name == parameter.source)
        elif own and step.name in steps:
            steps = (step.name,)
        if not steps:
            raise PlanError(f"step {step.name}: nothing yields {wants.type} for parameter {parameter.name!r}")
        return Slot(parameter.name, "outcome", wants, parameter.optional, steps)


def _demanded(nodes: tuple[Node, ...]) -> Iterator[str]:
    for node in nodes:
        for slot in node.slots + node.undo_slots:
            own_undo = slot in node.undo_slots and slot.steps == (node.key,)
            if slot.kind == "outcome" and not slot.optional and not own_undo:
                yield from slot.steps
