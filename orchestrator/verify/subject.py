"""A saga prepared for the rules: every place where a builder is called, with what is captured there.

`guaranteed`: steps that have succeeded on every path that reaches the place. `possible`: steps whose outcome may have
been captured by then. A step in a parallel sibling is possible, not guaranteed; a later one is neither. An undo may run
at any time after its step has begun, so every step of the body is possible in it, the step itself included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from contracts.message import Command, Message
from orchestrator.language.blocks import Block, CommandStep, Emit, Parallel, Pivot, Sequence
from orchestrator.language.location import Location
from orchestrator.language.saga import Saga
from orchestrator.language.signature import Parameter, Signature, SignatureError, read_signature
from orchestrator.verify.finding import Finding

Role = Literal["builder", "undo"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A block in its place."""

    block: Block
    path: str
    depth: int
    """0: the root of the body or of `cancelled`; 1: directly in it."""
    parent: Block | None
    cancelled: bool
    """In the `cancelled` block."""
    past_pivot: bool
    guaranteed: frozenset[str]
    possible: frozenset[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A builder that is called at a place, as a step's command or event, or as its undo."""

    spot: Spot
    step: CommandStep | Emit
    role: Role
    builder: Callable[..., Any]
    possible: frozenset[str]

    @property
    def name(self) -> str:
        """The builder's, for people."""
        return getattr(self.builder, "__name__", repr(self.builder))

    @property
    def path(self) -> str:
        return f"{self.spot.path} > undo {self.name}" if self.role == "undo" else self.spot.path


class Subject:
    """One saga, walked once."""

    def __init__(self, saga: Saga) -> None:
        self.saga = saga
        self.spots = tuple(_walk_saga(saga))
        self.calls = tuple(_calls(self.spots))
        self._signatures: dict[Callable[..., Any], Signature | SignatureError] = {}

    def signature(self, builder: Callable[..., Any]) -> Signature | SignatureError:
        """An unreadable one is reported by the rule `builder-signature`, and by no other."""
        if builder not in self._signatures:
            try:
                self._signatures[builder] = read_signature(builder)
            except SignatureError as error:
                self._signatures[builder] = error
        return self._signatures[builder]

    def parameters(self, call: Call) -> tuple[Parameter, ...]:
        found = self.signature(call.builder)
        return () if isinstance(found, SignatureError) else found.parameters

    def makes(self, builder: Callable[..., Any]) -> type[Message] | None:
        found = self.signature(builder)
        return None if isinstance(found, SignatureError) else found.returns

    def command(self, step: CommandStep) -> type[Command] | None:
        """The command that the step sends; None if its builder makes none (reported by `builder-makes`)."""
        made = self.makes(step.builder)
        return made if made is not None and issubclass(made, Command) else None

    def steps(self) -> Iterator[CommandStep]:
        return (spot.block for spot in self.spots if isinstance(spot.block, CommandStep))

    def yields(self, step: CommandStep, wanted: object) -> bool:
        """The step may answer with that type: a success or a refusal."""
        made = self.command(step)
        return made is not None and wanted in made.succeeds + made.refuses

    def always_yields(self, step: CommandStep, wanted: object) -> bool:
        """If the step succeeds, it is with that type."""
        made = self.command(step)
        return made is not None and made.succeeds == (wanted,)

    def producers(self, wanted: object) -> tuple[str, ...]:
        """Names of the steps that may answer with that type."""
        return tuple(step.name for step in self.steps() if self.yields(step, wanted))

    def step(self, name: str) -> CommandStep | None:
        return next((step for step in self.steps() if step.name == name), None)

    def at_block(self, rule: str, spot: Spot, message: str, fix: str) -> Finding:
        """A finding at the place where a block is written."""
        return self.at(rule, spot.block.location, message, fix, spot.path)

    def at_builder(self, rule: str, call: Call, message: str, fix: str) -> Finding:
        """A finding at a builder's definition."""
        return self.at(rule, builder_location(call.builder, call.step.location), message, fix, call.path)

    def at(self, rule: str, location: Location, message: str, fix: str, path: str) -> Finding:
        return Finding(location.file, location.line, self.saga.name, rule, message, fix, path)


def builder_location(builder: Callable[..., Any], otherwise: Location) -> Location:
    """Where a builder is defined; `otherwise` for what is not a plain function."""
    code = getattr(builder, "__code__", None)
    return otherwise if code is None else Location(code.co_filename, code.co_firstlineno)


def _names(block: Block) -> frozenset[str]:
    """All steps in a block that may capture an outcome."""
    match block:
        case Sequence(children=children) | Parallel(children=children):
            return frozenset().union(*(_names(child) for child in children))
        case CommandStep(name=name):
            return frozenset((name,))
        case Pivot() | Emit():
            return frozenset()
        case _:
            assert_never(block)


@dataclass(frozen=True, slots=True)
class _Before:
    """What holds where a block begins."""

    guaranteed: frozenset[str]
    possible: frozenset[str]
    past_pivot: bool
    cancelled: bool

    def after(self, block: Block) -> _Before:
        names = _names(block)
        return _Before(
            self.guaranteed | names, self.possible | names, self.past_pivot or _pivots(block), self.cancelled
        )

    def beside(self, siblings: tuple[Block, ...]) -> _Before:
        names = frozenset[str]().union(*(_names(sibling) for sibling in siblings))
        return _Before(self.guaranteed, self.possible | names, self.past_pivot, self.cancelled)


def _pivots(block: Block) -> bool:
    return isinstance(block, Pivot) or (
        isinstance(block, Sequence | Parallel) and any(_pivots(child) for child in block.children)
    )


def _walk_saga(saga: Saga) -> Iterator[Spot]:
    nothing: frozenset[str] = frozenset()
    yield from _walk(saga.body, None, "", 0, _Before(nothing, nothing, past_pivot=False, cancelled=False))
    if saga.cancelled is not None:
        last = _Before(nothing, _names(saga.body), past_pivot=False, cancelled=True)
        yield from _walk(saga.cancelled, None, "cancelled", 0, last)


def _walk(block: Block, parent: Block | None, above: str, depth: int, before: _Before) -> Iterator[Spot]:
    name = block.name if isinstance(block, CommandStep | Emit) else type(block).__name__.lower()
    path = f"{above} > {name}" if above else name
    yield Spot(
        block, path, depth, parent, before.cancelled, before.past_pivot, before.guaranteed, before.possible
    )  # fmt: skip
    if isinstance(block, Sequence):
        for child in block.children:
            yield from _walk(child, block, path, depth + 1, before)
            before = before.after(child)
    elif isinstance(block, Parallel):
        for position, child in enumerate(block.children):
            others = block.children[:position] + block.children[position + 1 :]
            yield from _walk(child, block, path, depth + 1, before.beside(others))


def _calls(spots: tuple[Spot, ...]) -> Iterator[Call]:
    body = frozenset(s.block.name for s in spots if isinstance(s.block, CommandStep) and not s.cancelled)
    for spot in spots:
        step = spot.block
        if not isinstance(step, CommandStep | Emit):
            continue
        yield Call(spot, step, "builder", step.builder, spot.possible)
        if isinstance(step, CommandStep) and step.undo is not None:
            possible = spot.possible | body | {step.name}
            yield Call(spot, step, "undo", step.undo.builder, possible)
