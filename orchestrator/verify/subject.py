"""A saga prepared for the rules: every place where a function of its author is called, with what is captured there.

An undo may run at any time after its step has begun, so every step of the body is possible in it, the step itself
included. What `until` is asked after a round is what that round has captured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from contracts.message import Command, Message
from orchestrator.engine.plan import PlanError, result_of
from orchestrator.language.blocks import Block, CommandStep, Emit, Returns, Subsaga
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.location import Location
from orchestrator.language.saga import Saga
from orchestrator.language.signature import (
    Parameter,
    Signature,
    SignatureError,
    read_element,
    read_parameters,
    read_signature,
)
from orchestrator.language.waiting import yields_of
from orchestrator.verify.finding import Finding
from orchestrator.verify.places import Source, Spot, branch_name, certain, names, walk_saga

__all__ = ["Call", "Role", "Spot", "Subject"]

Role = Literal["builder", "undo", "predicate", "until", "items", "moment"]
FUNCTIONS_MAX = 4_096
"""Signatures kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the saga's author that is called at a place."""

    spot: Spot
    role: Role
    builder: Callable[..., Any]
    possible: frozenset[str]
    finished: tuple[Block, ...]
    path: str

    @property
    def step(self) -> CommandStep | Subsaga | Emit | Returns | None:
        """The step whose message it makes."""
        block = self.spot.block
        return block if isinstance(block, CommandStep | Subsaga | Emit | Returns) else None

    @property
    def own(self) -> str | None:
        """The name of the step that it makes a message for."""
        return None if self.step is None else self.step.name

    @property
    def name(self) -> str:
        """The function's, for people."""
        return getattr(self.builder, "__name__", repr(self.builder))


class Subject:
    """One saga, walked once. `known`: all sagas that run beside it; None: nothing is known of others."""

    def __init__(self, saga: Saga, known: tuple[Saga, ...] | None = None) -> None:
        self.saga = saga
        self.known = known
        self.spots = tuple(walk_saga(saga))
        self.calls = tuple(_calls(self.spots))
        self._places = {spot.block.name: spot for spot in self.spots if isinstance(spot.block, Source)}

    def problem(self, call: Call) -> str | None:
        """Why its annotations cannot be used; reported by the rule `builder-signature`, and by no other."""
        read = _read_element if call.role == "items" else _read_parameters
        found = _read_signature(call.builder) if call.role in ("builder", "undo") else read(call.builder)
        return str(found) if isinstance(found, SignatureError) else None

    def parameters(self, call: Call) -> tuple[Parameter, ...]:
        found = _read_parameters(call.builder)
        return () if isinstance(found, SignatureError) or self.problem(call) else found

    def makes(self, builder: Callable[..., Any]) -> type[Message] | None:
        found = _read_signature(builder)
        return None if isinstance(found, SignatureError) else found.returns

    def command(self, step: CommandStep) -> type[Command] | None:
        """The command that the step sends; None if its builder makes none (reported by `builder-makes`)."""
        made = self.makes(step.builder)
        return made if made is not None and issubclass(made, Command) else None

    def sources(self) -> Iterator[Source]:
        """The blocks that may capture something."""
        return (spot.block for spot in self.spots if isinstance(spot.block, Source))

    def yields(self, source: Source, wanted: object) -> bool:
        """The step may be answered with that type: a success or a refusal; the child returns it; the wait is for it."""
        if isinstance(source, Subsaga):
            return _read_result(source.child) is wanted
        if not isinstance(source, CommandStep):
            return yields_of(source) is wanted
        made = self.command(source)
        return made is not None and wanted in made.succeeds + made.refuses

    def always_yields(self, source: Source, wanted: object) -> bool:
        """If it succeeds, it is with that type."""
        if isinstance(source, Subsaga):
            return _read_result(source.child) is wanted
        if not isinstance(source, CommandStep):
            return yields_of(source) is wanted
        made = self.command(source)
        return made is not None and made.succeeds == (wanted,)

    def producers(self, wanted: object, source: str | None = None) -> tuple[str, ...]:
        """Names of the steps that may answer with that type; of `source` only, if it is given."""
        return tuple(one.name for one in self.sources() if source in (None, one.name) and self.yields(one, wanted))

    def source(self, name: str) -> Source | None:
        return next((one for one in self.sources() if one.name == name), None)

    def element_loop(self, call: Call, parameter: Parameter) -> ForEach | None:
        """The `for_each` around the call whose element is injected, as the engine chooses it."""
        for loop in reversed(call.spot.loops):
            if isinstance(loop, ForEach) and _read_element(loop.items) is parameter.wants:
                return loop if parameter.source in (None, loop.name) else None
        return None

    def takes_start(self, parameter: Parameter) -> bool:
        return parameter.wants is self.saga.starts_on and parameter.source is None

    def loop_between(self, call: Call, name: str) -> ForEach | None:
        """The outermost `for_each` that the step is in and the call is not: the step has an outcome per element."""
        around, here = self._places[name].loops, call.spot.loops
        shared = _shared(around, here)
        return next((loop for loop in around[shared:] if isinstance(loop, ForEach)), None)

    def block_between(self, call: Call, name: str) -> Block | None:
        """The innermost block that the step and the call are both in."""
        lineage, here = self._places[name].above, (*call.spot.above, call.spot.block)
        shared = _shared(lineage, here)
        return here[shared - 1] if shared else None

    def are_exclusive(self, call: Call, one: str, other: str) -> bool:
        """The call never sees an outcome of both steps: they are in two branches of a choice, or in two alternatives of
        a fallback that the call is not in itself (the undo of one that was given up sees both)."""
        first, second = self._places[one], self._places[other]
        shared = _shared(first.above, second.above)
        between = first.above[shared - 1] if shared else None
        inside = any(block is between for block in call.spot.above)
        return isinstance(between, Choice) or (isinstance(between, Fallback) and not inside)

    def is_certain(self, call: Call, holds: Callable[[Source], bool]) -> bool:
        """On every path to the call, a step for which `holds` has succeeded."""
        return any(certain(block, holds) for block in call.finished)

    def at_block(self, rule: str, spot: Spot, message: str, fix: str) -> Finding:
        """A finding at the place where a block is written."""
        return self.at(rule, spot.block.location, message, fix, spot.path)

    def at_builder(self, rule: str, call: Call, message: str, fix: str) -> Finding:
        """A finding at the function's definition."""
        return self.at(rule, builder_location(call.builder, call.spot.block.location), message, fix, call.path)

    def at(self, rule: str, location: Location, message: str, fix: str, path: str) -> Finding:
        return Finding(location.file, location.line, self.saga.name, rule, message, fix, path)


def builder_location(builder: Callable[..., Any], otherwise: Location) -> Location:
    """Where a builder is defined; `otherwise` for what is not a plain function."""
    code = getattr(builder, "__code__", None)
    return otherwise if code is None else Location(code.co_filename, code.co_firstlineno)


@lru_cache(maxsize=FUNCTIONS_MAX)
def _read_signature(builder: Callable[..., Any]) -> Signature | SignatureError:
    try:
        return read_signature(builder)
    except SignatureError as error:
        return error


@lru_cache(maxsize=FUNCTIONS_MAX)
def _read_parameters(function: Callable[..., Any]) -> tuple[Parameter, ...] | SignatureError:
    try:
        return read_parameters(function)
    except SignatureError as error:
        return error


@lru_cache(maxsize=FUNCTIONS_MAX)
def _read_element(items: Callable[..., Any]) -> type[BaseModel] | SignatureError:
    try:
        return read_element(items)
    except SignatureError as error:
        return error


def _read_result(child: Saga) -> type[Message] | None:
    """What a completed child brings home; None also if that cannot be read (its own verification says so)."""
    try:
        return result_of(child)
    except (SignatureError, PlanError):
        return None


def _shared(one: tuple[Block, ...], other: tuple[Block, ...]) -> int:
    """How many blocks two lineages have in common from their beginning."""
    count = 0
    while count < min(len(one), len(other)) and one[count] is other[count]:
        count += 1
    return count


def _calls(spots: tuple[Spot, ...]) -> Iterator[Call]:
    body = frozenset(s.block.name for s in spots if isinstance(s.block, Source) and not (s.cancelled or s.alerting))
    for spot in spots:
        block, path = spot.block, spot.path

        def call(role: Role, function: Callable[..., Any], way: str, spot: Spot = spot) -> Call:
            return Call(spot, role, function, spot.possible, spot.finished, way)

        if isinstance(block, CommandStep | Subsaga | Emit | Returns):
            yield call("builder", block.builder, path)
        if isinstance(block, CommandStep | Subsaga) and block.undo is not None:
            name = getattr(block.undo.builder, "__name__", "?")
            possible = spot.possible | body | {block.name}
            yield Call(spot, "undo", block.undo.builder, possible, spot.finished, f"{path} > undo {name}")
        if isinstance(block, Choice):
            for branch in block.branches:
                if branch.predicate is not None:
                    yield call("predicate", branch.predicate, f"{path} > {branch_name(branch)}")
        if isinstance(block, ForEach):
            yield call("items", block.items, path)
        if isinstance(block, Repeat):
            possible, finished = spot.possible | names(block.body), (*spot.finished, block.body)
            yield Call(spot, "until", block.until, possible, finished, f"{path} > until")
        if isinstance(block, Sleep) and block.until is not None:
            yield call("moment", block.until, path)
