"""Lines beside the reconciliation: did every order, every repeat and every bad message meet the end it should? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.process import Phase
from deploy.demo.observation import Observation
from deploy.demo.orders import DESCRIPTIONS, ENDS, Fate, PlannedOrder
from deploy.demo.reconciliation import Line
from deploy.demo.traffic import Published, process_of
from services.inventory.stock import Level

IgnoredInputs = Mapping[str, Counter[str]]
"""Process -> reason -> how many of its inputs were ignored."""


@dataclass(frozen=True, slots=True)
class FateRow:
    """How the orders of one fate ended."""

    fate: Fate
    description: str
    orders: int
    ends: Mapping[Phase, int]


def fate_rows(orders: Sequence[PlannedOrder], phases: Mapping[str, Phase]) -> tuple[FateRow, ...]:
    rows = []
    for fate, description in DESCRIPTIONS.items():
        ends = Counter(
            phases.get(process_of(order.placed.order_id), "running") for order in orders if order.fate == fate
        )
        if ends:
            rows.append(FateRow(fate, description, ends.total(), ends))
    return tuple(rows)


def fates_line(orders: Sequence[PlannedOrder], phases: Mapping[str, Phase]) -> Line:
    wrong = []
    for order in orders:
        phase = phases.get(process_of(order.placed.order_id), "running")
        if phase != ENDS[order.fate]:
            wrong.append(f"order {order.placed.order_id} ({DESCRIPTIONS[order.fate]}): {phase}, not {ENDS[order.fate]}")
    return Line("fates", "every order ended as what it met demands", f"{len(orders)} orders", tuple(wrong))


def messages_line(published: Sequence[Published], seen: Observation, ignored: IgnoredInputs) -> Line:
    """Repeats and bad input. What is skipped leaves no trace, and an input without a process only a counter."""
    letters = {(letter.origin, letter.reason) for letter in seen.dead_letters}
    wrong = [problem for one in published if (problem := _problem(one, seen, ignored, letters)) is not None]
    other = [one for one in published if one.sending.expects != "starts"]
    figures = f"{len(other)} repeats and bad messages of {len({one.sending.name for one in other})} kinds"
    return Line("messages", "every repeat and bad message met its due fate", figures, tuple(wrong))


def _problem(
    one: Published, seen: Observation, ignored: IgnoredInputs, letters: set[tuple[tuple[str, int, int], str]]
) -> str | None:
    sending = one.sending
    if sending.expects == "refused":
        return None if one.place is None else f"{sending.name}: the broker took it"
    if one.place is None:
        return f"{sending.name}: the broker refused it"
    if sending.expects == "dead-letter" and (one.place, sending.reason) not in letters:
        return f"{sending.name} at {one.place}: not in dead letters as {sending.reason}"
    if sending.expects == "answered" and seen.failure_codes.get(sending.message_id or "") != sending.reason:
        return f"{sending.name} {sending.message_id}: not answered with {sending.reason}"
    if sending.expects == "ignored" and sending.process in seen.phases:
        assert sending.process is not None and sending.reason is not None
        if not ignored.get(sending.process, Counter())[sending.reason]:
            return f"{sending.name}: not ignored({sending.reason}) by {sending.process}"
    return None


def shelves_line(levels: Sequence[Level], shelves: Mapping[tuple[str, str], tuple[int, int, int]]) -> Line:
    """Readers of `inventory.stock-changed` who keep the highest revision know the shelves as they are."""
    wrong = []
    for level in levels:
        told = shelves.get((level.sku, level.warehouse))
        if told != (level.revision, level.on_hand, level.reserved):
            wrong.append(
                f"sku {level.sku}, {level.warehouse}: revision, free, reserved are"
                f" {level.revision}, {level.on_hand}, {level.reserved}; announced {told}"
            )
    return Line("announced stock", "the last announced stock is the stock", f"{len(levels)} shelves", tuple(wrong))
