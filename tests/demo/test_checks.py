"""The lines beside the reconciliation: fates, repeats and bad messages, announced stock."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from contracts.process import Phase
from deploy.demo.baskets import read_baskets
from deploy.demo.checks import fate_rows, fates_line, messages_line, shelves_line
from deploy.demo.observation import DeadLetter, Observation
from deploy.demo.orders import ENDS, plan_orders
from deploy.demo.traffic import Published, Sending, plan_traffic, process_of
from services.inventory.stock import Level

ORDERS = plan_orders(read_baskets(), 100, 7)


def due_phases() -> dict[str, Phase]:
    return {process_of(order.placed.order_id): ENDS[order.fate] for order in ORDERS}


def test_fates_are_told_by_kind() -> None:
    rows = {row.fate: row for row in fate_rows(ORDERS, due_phases())}
    assert rows["declined"].ends == Counter(compensated=4)
    assert rows["plain"].orders == sum(order.fate == "plain" for order in ORDERS)
    assert fates_line(ORDERS, due_phases()).holds


def test_an_order_that_ended_otherwise_is_named() -> None:
    victim = next(order for order in ORDERS if order.fate == "lost")
    phases = due_phases() | {process_of(victim.placed.order_id): "stuck"}
    assert fates_line(ORDERS, phases).discrepancies == (
        f"order {victim.placed.order_id} (answer lost after the charge): stuck, not completed",
    )


def published() -> list[Published]:
    sendings = plan_traffic(ORDERS, 7)
    return [Published(one, _place(number, one), 0) for number, one in enumerate(sendings)]


def _place(number: int, sending: Sending) -> tuple[str, int, int] | None:
    return None if sending.expects == "refused" else (sending.record.topic, 0, number)


def right_world(sent: list[Published]) -> tuple[Observation, dict[str, Counter[str]]]:
    seen, ignored = Observation(), dict[str, Counter[str]]()
    seen.phases = due_phases()
    for one in sent:
        sending = one.sending
        if sending.expects == "dead-letter" and one.place and sending.reason:
            seen.dead_letters.append(DeadLetter("orchestrator", sending.reason, one.place))
        if sending.expects == "answered" and sending.message_id and sending.reason:
            seen.failure_codes[sending.message_id] = sending.reason
        if sending.expects == "ignored" and sending.process in seen.phases and sending.reason:
            ignored.setdefault(sending.process, Counter())[sending.reason] += 1
    return seen, ignored


def test_when_every_message_met_its_fate_the_line_holds() -> None:
    sent = published()
    assert messages_line(sent, *right_world(sent)).holds


def test_each_missing_fate_is_found() -> None:
    sent = published()
    seen, ignored = right_world(sent)
    wanted = {one.sending.name for one in sent if one.sending.expects != "starts"}
    found = set()
    for name in wanted:
        for line in (
            messages_line(sent, _blind(seen), {}),
            messages_line([_turned(one) if one.sending.name == name else one for one in sent], seen, ignored),
        ):
            found |= {problem.split(" at ")[0].split(":")[0] for problem in line.discrepancies}
    for name in wanted - {"unknown event type", "outcome without a process"}:
        assert any(problem.startswith(name) for problem in found), name


def _blind(seen: Observation) -> Observation:
    nothing = Observation()
    nothing.phases = seen.phases
    return nothing


def _turned(one: Published) -> Published:
    """What should be refused was taken, and the other way round."""
    return replace(one, place=("orders.events", 0, 0) if one.place is None else None)


def test_a_shelf_that_was_announced_otherwise_is_found() -> None:
    level = Level("milk", "east", on_hand=7, reserved=0, dispatched=3, revision=4)
    assert shelves_line([level], {("milk", "east"): (4, 7, 0)}).holds
    assert not shelves_line([level], {("milk", "east"): (3, 10, 0)}).holds
    assert not shelves_line([level], {}).holds
