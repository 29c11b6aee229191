"""What `verify` accepts, the real engine can inject: random sagas over all blocks, whose events demand captured values.

The converse does not hold: `verify` is conservative.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from random import Random

import pytest

from contracts.inventory import StockReserved
from contracts.orders import OrderCancelled, OrderLine, OrderPlaced
from contracts.payment import PaymentCaptured
from contracts.shipping import LabelCreated
from orchestrator.language import (
    Block,
    choice,
    command,
    emit,
    fallback,
    for_each,
    otherwise,
    parallel,
    repeat,
    sequence,
    sleep,
    when,
)
from orchestrator.language.blocks import children_of
from orchestrator.language.flow import When
from orchestrator.verify import Handlers
from orchestrator.verify import subject as subject_module
from orchestrator.verify.exploration import Problem, explore
from orchestrator.verify.places import Source
from orchestrator.verify.rules import ambiguous, captured, injected_shape
from orchestrator.verify.subject import Subject
from tests.verify.planted import saga
from tests.verify.steps import charge, create_label, is_large, lines, refund, release, reserve, void_label

SEEDS = 120
DEPTH_MAX = 2
DECISIONS_MAX = 250


def one_reservation(order: OrderPlaced, it: StockReserved) -> OrderCancelled:
    return told(order)


def perhaps_reservation(order: OrderPlaced, it: StockReserved | None) -> OrderCancelled:
    return told(order)


def all_reservations(order: OrderPlaced, it: tuple[StockReserved, ...]) -> OrderCancelled:
    return told(order)


def one_payment(order: OrderPlaced, it: PaymentCaptured) -> OrderCancelled:
    return told(order)


def perhaps_payment(order: OrderPlaced, it: PaymentCaptured | None) -> OrderCancelled:
    return told(order)


def payment_and_label(order: OrderPlaced, it: PaymentCaptured, label: LabelCreated) -> OrderCancelled:
    return told(order)


def one_line(order: OrderPlaced, line: OrderLine) -> OrderCancelled:
    return told(order)


def told(order: OrderPlaced) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=order.customer_id, reason="operator")


PROBES: tuple[Callable[..., OrderCancelled], ...] = (
    one_reservation, perhaps_reservation, all_reservations, one_payment, perhaps_payment, payment_and_label, one_line,
)  # fmt: skip
STEPS = ((reserve, release), (charge, refund), (create_label, void_label))


class Grower:
    def __init__(self, random: Random) -> None:
        self.random = random
        self._numbers = count(1)

    def name(self, word: str) -> str:
        return f"{word}{next(self._numbers)}"

    def block(self, depth: int) -> Block:
        random = self.random
        if depth == 0 or random.random() < 0.35:
            return self.leaf()
        inside = [self.block(depth - 1) for _ in range(random.choice((2, 2, 3)))]
        match random.choice(("sequence", "sequence", "parallel", "choice", "fallback", "for_each", "repeat")):
            case "sequence":
                return sequence(*inside)
            case "parallel":
                return parallel(*inside)
            case "choice":
                last: tuple[When, ...] = (otherwise(inside[1]),) if random.random() < 0.7 else ()
                return choice(when(is_large, inside[0]), *last)
            case "fallback":
                return fallback(*inside[:2])
            case "for_each":
                return for_each(lines, sequence(*inside), bound=3, name=self.name("loop"))
            case _:
                return repeat(sequence(*inside), until=is_large, bound=2, name=self.name("again"))

    def body(self) -> Block:
        """Something happens, and then somebody asks for it."""
        return sequence(self.block(DEPTH_MAX), self.probe())

    def probe(self) -> Block:
        return emit(self.random.choice(PROBES), name=self.name("probe"))

    def leaf(self) -> Block:
        if self.random.random() < 0.15:
            return self.probe()
        if self.random.random() < 0.1:
            return sleep(timedelta(minutes=1), name=self.name("nap"))
        builder, undo = self.random.choice(STEPS)
        return command(builder, undo=undo, name=self.name("step"))


@pytest.mark.parametrize("chunk", range(2))
def test_what_is_proven_can_be_injected(chunk: int) -> None:
    proven, problems = _explored(range(chunk * SEEDS, (chunk + 1) * SEEDS))
    assert problems == []
    assert SEEDS / 8 < proven < SEEDS * 7 / 8


def _explored(seeds: range) -> tuple[int, list[tuple[int, Problem]]]:
    """How many sagas break no rule of injection, and what the engine finds wrong with these."""
    proven = 0
    problems: list[tuple[int, Problem]] = []
    for seed in seeds:
        one = saga(Grower(Random(seed)).body())
        subject = Subject(one)
        rules = (ambiguous, captured, injected_shape)
        if not any(finding for rule in rules for finding in rule.check(subject, Handlers.any())):
            proven += 1
            problems += [(seed, problem) for problem in explore(one, DECISIONS_MAX).problems]
    return proven, problems


def test_the_net_catches_a_rule_that_takes_one_alternative_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def credulous(block: Block, holds: Callable[[Source], bool]) -> bool:
        inside = (credulous(child, holds) for child in children_of(block))
        return holds(block) if isinstance(block, Source) else any(inside)

    monkeypatch.setattr(subject_module, "certain", credulous)
    _, problems = _explored(range(SEEDS))
    assert any("but nothing has captured it" in problem.what for _, problem in problems)
