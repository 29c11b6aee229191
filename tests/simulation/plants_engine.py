"""Faults planted in the engine. The oracle of the simulation decides with the same spoilt engine: what finds these is
the world outside, the judge of the test kit, and processes that do not end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from orchestrator.engine import answers, arrivals, children, early, effects, interpreter, limiter
from orchestrator.engine.blocks import approval, command, sequence, undo, wait
from orchestrator.engine.decision import Decision
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Node
from orchestrator.engine.process import Outcome, Parentage, Process
from orchestrator.engine.turn import Turn

ENGINE_PLANTS: dict[str, Callable[[], None]] = {}


def plant(function: Callable[[], None]) -> Callable[[], None]:
    ENGINE_PLANTS[function.__name__] = function
    return function


def put(owner: object, name: str, value: object) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} to spoil"
    setattr(owner, name, value)


@plant
def random_effect_ids() -> None:
    numbers = count(1)
    put(effects, "emit_id", lambda process, name: f"{process}/{name}-{next(numbers)}")


@plant
def random_effect_bytes() -> None:
    numbers = count(1)
    put(effects, "child_traceparent", lambda parent, identity: f"{parent[:36]}{next(numbers):016x}-01")


@plant
def silence_taken_for_failure() -> None:
    def perhaps(turn: Turn, node: Node, number: int, state: Any, why: str) -> None:
        if state == "silent":
            command._no_effect(turn, node, number, "none", True, why)
        else:
            original(turn, node, number, state, why)

    original = command._perhaps
    put(command, "_perhaps", perhaps)


@plant
def unknown_effect_taken_for_none() -> None:
    def on_failure(turn: Turn, node: Node, number: int, effect: Any, retryable: bool, why: str) -> None:
        command._no_effect(turn, node, number, "none", retryable, why)

    put(command, "on_failure", on_failure)


@plant
def perhaps_done_not_undone() -> None:
    put(undo, "PERHAPS", frozenset())


@plant
def stale_outcome_accepted() -> None:
    def address(turn: Turn, causation: str | None) -> Any:
        found = original(turn, causation)
        if found is None or found.is_undo:
            return found
        return answers.Address(found.node, len(turn.step(found.node).tries), False)

    original = answers._address
    put(answers, "_address", address)


@plant
def late_success_dropped() -> None:
    put(undo, "late_success", lambda turn, node, outcome: None)


@plant
def new_try_without_new_key() -> None:
    put(command, "command_id", lambda process, path, number: f"{process}/{path}/1")


@plant
def undo_order_reversed() -> None:
    def start_undo(turn: Turn, node: Node) -> None:
        state = turn.node_state(node)
        if state is None or not node.children:
            original(turn, node)
        else:
            turn.set_node(node, "undoing", state.count)
            turn.undo(turn.child(node, 0))

    def child_undone(turn: Turn, node: Node, child: Node) -> None:
        state = turn.node_state(node)
        assert state is not None
        if child.position < state.count:
            turn.undo(turn.child(node, child.position + 1))
        else:
            turn.set_node(node, "undone")
            turn.undone(node)

    original = sequence.undo
    put(sequence, "undo", start_undo)
    put(sequence, "child_undone", child_undone)


@plant
def undone_before_it_has_settled() -> None:
    def hasty(turn: Turn, node: Node) -> None:
        turn.change(node, undoing=True)
        undo.begin(turn, node)

    put(command, "undo", hasty)


@plant
def ends_with_an_open_debt() -> None:
    put(interpreter, "_owes", lambda turn: False)


@plant
def a_repeated_success_is_applied() -> None:
    def answer_try(turn: Turn, address: Any, kind: Any, outcome: Outcome, failed: Any) -> Any:
        if kind == "success":
            command.on_success(turn, address.node, address.number, outcome)
            return None
        return original(turn, address, kind, outcome, failed)

    original = answers._answer_try
    put(answers, "_answer_try", answer_try)


@plant
def a_failed_undo_counts_as_done() -> None:
    put(undo, "on_failure", lambda turn, node, place, again, why: undo.on_success(turn, node, place))


# What people and other services say.


@plant
def early_event_dropped() -> None:
    put(wait, "_early", lambda turn, node: None)


@plant
def early_event_applied_twice() -> None:
    def start(turn: Turn, node: Node) -> None:
        kept = turn.early
        original(turn, node)
        turn.early = kept

    original = wait.start
    put(wait, "start", start)


@plant
def limit_taken_though_the_event_came() -> None:
    """What comes is kept for a block to come, although one waits."""
    put(arrivals, "_waiting", lambda turn, numbers: None)


@plant
def repeated_event_applied_again() -> None:
    put(arrivals, "remember", lambda seen, item: seen)


@plant
def approval_by_wrong_role_accepted() -> None:
    put(approval, "roles", lambda turn, node: frozenset(("clerk", "chief", "visitor")))


@plant
def event_for_another_process_taken() -> None:
    put(arrivals, "concerns", lambda plan, process, node, data: True)


@plant
def early_event_never_given_up() -> None:
    """Its timer fires, and nothing goes to dead letters."""

    def on_timer(before: Process, item: Input) -> Decision:
        decision = original(before, item)
        return msgspec.structs.replace(decision, effects=())

    original = early.on_timer
    put(early, "on_timer", on_timer)


@plant
def called_off_before_it_began_and_goes_on() -> None:
    put(early, "called_off_before", lambda plan, before: False)


@plant
def a_step_to_be_held_is_undone() -> None:
    put(command, "_failed", lambda turn, node, reason, why: turn.fail(node, reason, why))


# What processes say to each other.


@plant
def a_child_says_that_it_is_undone_and_is_not() -> None:
    def undo_child(turn: Turn, parent: Parentage) -> None:
        assert turn.parentage is not None
        turn.parentage = msgspec.structs.replace(parent, undo=turn.item.envelope.id)
        turn.send(children._answer(turn, turn.parentage, "compensated"))

    put(children, "_undo", undo_child)


@plant
def children_are_never_let_go() -> None:
    put(children, "release", lambda turn: None)


@plant
def a_place_too_many_is_given() -> None:
    def serve(self: Any) -> None:
        self.count += 1
        original(self)
        self.count -= 1

    original = limiter._Work.serve
    put(limiter._Work, "serve", serve)
