"""What a process has captured, as one place in it sees it: the source of everything that is injected."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from pydantic import BaseModel

from contracts.message import Message
from orchestrator.engine.building import BuilderFailed, PayloadInvalid, parse_payload
from orchestrator.engine.plan import Node, Plan, Slot
from orchestrator.engine.process import NodeState, Outcome, Start, StepState, Value
from orchestrator.language.blocks import ON_STUCK
from orchestrator.language.flow import ForEach
from orchestrator.language.injection import Ending, Stuck
from orchestrator.language.waiting import captured_as


class Captured(Value, frozen=True):
    """`place` is the block that asks; what an alternative has captured that was given up, only that alternative sees.
    `own` overrides, by step key, what steps have captured:
    an undo of one try sees that try's outcome."""

    plan: Plan
    start: Start
    steps: dict[str, StepState]
    nodes: dict[str, NodeState]
    ending: Ending | None
    place: Node
    own: dict[str, Outcome | None]

    def value(self, slot: Slot) -> object:
        """Raises BuilderFailed if it is not there, or not only once."""
        if slot.kind == "ending":
            return self.ending
        if slot.kind == "stuck":
            return decode_stuck(self.nodes[ON_STUCK].items[0])
        if slot.kind == "start":
            return _parsed(slot.wants, self.start.data)
        if slot.kind == "element":
            return self._element(slot)
        wanted = captured_as(slot.wants)
        found = [
            outcome
            for name in slot.steps
            for outcome in self.outcomes(self.plan.by_key[name])
            if outcome.type == wanted
        ]
        if slot.many:
            return tuple(_parsed(slot.wants, outcome.data) for outcome in found)
        if len(found) == 1:
            return _parsed(slot.wants, found[0].data)
        if not found and slot.optional:
            return None
        why = "several steps have captured it" if found else "nothing has captured it"
        raise BuilderFailed(f"parameter {slot.parameter!r} wants {_named(slot.wants)}, but {why}")

    def _element(self, slot: Slot) -> object:
        """The element of the loop that the scope is in."""
        (loop,) = slot.steps
        parts = self.place.scope.split(".")
        depth = next(depth for depth, part in enumerate(parts) if part.partition("[")[0] == loop)
        around = "".join(f"{part}." for part in parts[:depth])
        return _parsed(slot.wants, self.nodes[around + loop].items[int(parts[depth][len(loop) + 1 : -1])])

    def outcomes(self, step: Node) -> Iterator[Outcome]:
        """What a step has captured: in the elements and rounds that the place is in itself; in all elements of a
        `for_each`, and in the latest round of a `repeat`, that it is not in."""
        scope = self.scope_of(step)
        yield from self._inside(scope, self.plan.loops(step)[scope.count(".") :], step)

    def scope_of(self, step: Node) -> str:
        """The elements and rounds that the place and the step are both in."""
        parts = [part for part in self.place.scope.split(".") if part]
        shared = 0
        loops = self.plan.loops(step)
        while shared < min(len(parts), len(loops)) and parts[shared].partition("[")[0] == loops[shared]:
            shared += 1
        return "".join(f"{part}." for part in parts[:shared])

    def _inside(self, prefix: str, loops: tuple[str, ...], step: Node) -> Iterator[Outcome]:
        if not loops:
            if not self._given_up(prefix, step):
                yield from self._of_step(prefix + step.key)
            return
        state = self.nodes.get(prefix + loops[0])
        if state is None:
            return
        every = isinstance(self.plan.by_key[loops[0]].block, ForEach)
        for index in range(len(state.items)) if every else (state.count,):
            yield from self._inside(f"{prefix}{loops[0]}[{index}].", loops[1:], step)

    def _given_up(self, scope: str, step: Node) -> bool:
        """The step is in an alternative of a fallback that was given up, and the place is not in the same one."""
        for around, alternative, loops in self.plan.alternatives(step):
            outside = "".join(f"{part}." for part in scope.split(".")[:loops])
            state = self.nodes.get(outside + around.key)
            if state is None or state.count == alternative.position:
                continue
            if not (self.plan.contains(alternative, self.place) and self.place.scope.startswith(outside)):
                return True
        return False

    def _of_step(self, key: str) -> Iterator[Outcome]:
        if key in self.own:
            outcome = self.own[key]
            if outcome is not None:
                yield outcome
            return
        state = self.steps.get(key)
        if state is not None:
            yield from (outcome for outcome in (state.outcome, state.refusal) if outcome is not None)


_stuck_decoder = msgspec.json.Decoder(Stuck)


def decode_stuck(data: bytes) -> Stuck:
    """As `on_stuck` has kept it when it began."""
    return _stuck_decoder.decode(data)


def _parsed(model: type[BaseModel], data: bytes) -> BaseModel:
    try:
        return parse_payload(model, data)
    except PayloadInvalid as error:
        raise BuilderFailed(f"a captured {_named(model)} does not fit its contract any more: {error}") from error


def _named(model: type[BaseModel]) -> str:
    return model.type if issubclass(model, Message) else model.__name__
