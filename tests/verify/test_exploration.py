"""Every answer in every order, with the real engine: what it proves of the sagas, and that it finds what is planted."""

from __future__ import annotations

from datetime import timedelta
from time import process_time
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.inventory import ReserveStock, StockLine, StockReserved
from contracts.orders import OrderCancelled, OrderPlaced
from contracts.payment import ChargePayment, RefundPayment
from orchestrator.engine.blocks import fallback as fallback_block
from orchestrator.engine.blocks import sleep as sleep_block
from orchestrator.engine.blocks import undo as undo_block
from orchestrator.language import (
    Block,
    approval,
    choice,
    command,
    emit,
    fallback,
    for_each,
    otherwise,
    parallel,
    pivot,
    repeat,
    sequence,
    sleep,
    wait_for,
    when,
)
from orchestrator.sagas import all_sagas
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from orchestrator.verify import Finding, Handlers, verify_sagas
from orchestrator.verify import exploration as exploration_module
from orchestrator.verify.exploration import explore
from tests.verify.planted import line_of, only_finding, saga
from tests.verify.steps import (
    cancelled,
    charge,
    create_label,
    is_large,
    lines,
    refund,
    release,
    reserve,
    reserve_line,
    void_label,
)

SECONDS_MAX = 2.0
"""Of processor time: other programs may be running."""
HOUR = timedelta(hours=1)


def findings(body: Block, **more: Any) -> tuple[Finding, ...]:
    return verify_sagas([saga(body, **more)], Handlers.any())


def test_the_sagas_of_this_repository_are_explored_completely_in_time() -> None:
    for one in all_sagas():
        began = process_time()
        report = explore(one)
        assert process_time() - began < SECONDS_MAX
        assert report.complete and report.problems == []
        assert report.decisions > (5_000 if one is ORDER_FULFILMENT else 5)


def is_complete(reserved: StockReserved) -> bool:
    return bool(reserved.lines)


BODIES = (
    choice(when(is_large, command(charge, undo=refund)), otherwise(command(reserve, undo=release))),
    for_each(lines, command(reserve_line, undo=release), bound=10, concurrency=2),
    repeat(command(reserve, undo=release), until=is_complete, bound=3),
    fallback(command(charge, undo=refund), command(reserve, undo=release)),
    sequence(parallel(sleep(HOUR, name="nap"), command(charge, undo=refund)), pivot(), command(create_label)),
    sequence(command(charge, undo=refund), wait_for(OrderCancelled, key=lambda event: event.order_id, limit=HOUR)),
    fallback(
        sequence(
            command(reserve, undo=release), wait_for(OrderCancelled, key=lambda event: event.order_id, limit=HOUR)
        ),
        for_each(lines, command(create_label, undo=void_label), bound=3),
    ),
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__.lower())
def test_every_block_comes_to_an_end(body: Block) -> None:
    report = explore(saga(body, cancelled=emit(cancelled), deadline=timedelta(days=9)))
    assert report.problems == [] and report.complete


def refund_certainly(order: OrderPlaced, reserved: StockReserved | None) -> RefundPayment:
    return RefundPayment(order_id=order.order_id, payment_id=reserved.reservation_id)  # type: ignore[union-attr]


def test_an_undo_that_fails_where_nothing_was_captured() -> None:
    step = command(reserve, undo=refund_certainly)  # <- no reservation
    finding = only_finding(saga(step), __file__, "no reservation")
    assert finding.rule == "explored"
    assert finding.message.startswith(
        "it is stuck at reserve/undo for payloads that the contracts allow: refund_certainly raised AttributeError"
    )
    assert finding.path == "reserve fails with effect unknown"
    assert finding.fix == "let the function take every such payload, or narrow the contract"


def reserve_second(order: OrderPlaced) -> ReserveStock:
    return ReserveStock(order_id=order.order_id, lines=(StockLine(sku=order.lines[1].sku, quantity=1),))


def test_a_bug_in_a_branch_that_the_sample_does_not_take_by_itself() -> None:
    step = command(reserve_second, undo=release)  # <- second line
    body = choice(when(is_large, step), otherwise(command(charge, undo=refund)))
    finding = only_finding(saga(body), __file__, "second line")
    assert finding.path == "is_large holds"
    assert "reserve_second raised IndexError" in finding.message


def test_a_silent_step_that_the_engine_forgets_to_undo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the engine: silence is taken for failure."""
    monkeypatch.setattr(undo_block, "PERHAPS", frozenset(("unknown",)))
    body = sequence(
        command(charge, undo=refund),  # <- forgotten
        command(reserve, undo=release),
    )
    found = [finding for finding in findings(body) if finding.line == line_of(__file__, "forgotten")]
    assert {finding.rule for finding in found} == {"explored"}
    ways = {finding.message: finding.path for finding in found}
    assert ways["it is compensated, but charge, try 1, is perhaps done and not undone"] == "charge stays silent"


def test_a_block_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the engine: a sleep is given up without telling the block around it."""
    monkeypatch.setattr(sleep_block, "undo", lambda turn, node: turn.clear_timer(f"{node.key}/wake"))
    body = parallel(sleep(HOUR, name="nap"), command(charge, undo=refund))
    planted = saga(body)
    (finding,) = verify_sagas([planted], Handlers.any())
    assert (finding.rule, finding.file, finding.line) == ("explored", planted.location.file, planted.location.line)
    assert finding.message.startswith("nothing can happen any more, but the process is compensating")
    assert finding.path == "charge is refused by PaymentDeclined"


def test_an_engine_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(fallback_block, "child_failed", broken)
    (finding,) = findings(fallback(command(charge, undo=refund), command(reserve, undo=release)))
    assert finding.message == "the engine raises KeyError ('lost')"
    assert finding.path == "charge is refused by PaymentDeclined"


def test_a_large_saga_is_explored_up_to_the_bound() -> None:
    steps = [command(reserve, undo=release, name=f"s{number}") for number in range(12)]
    report = explore(saga(parallel(*steps)), decisions_max=1_000)
    assert (report.complete, report.decisions <= 1_100, report.problems) == (False, True, [])


def test_a_saga_that_breaks_a_rule_is_not_explored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration_module, "explore", None)
    assert [finding.rule for finding in findings(command(charge))] == ["no-undo"]


class SignOff(BaseModel):
    limit_cents: int


def charge_up_to(order: OrderPlaced, sign_off: SignOff) -> ChargePayment:
    amount = min(order.total_cents, sign_off.limit_cents)
    return ChargePayment(order_id=order.order_id, amount_cents=amount, currency="EUR", payment_method="card")


def test_an_approval_is_given_refused_escalated_and_forgotten() -> None:
    asked = approval("sign_off", role="boss", limit=HOUR, form=SignOff, escalation=(HOUR / 2, "director"))
    body = sequence(command(reserve, undo=release), asked, command(charge_up_to, undo=refund))
    assert findings(body) == ()
    report = explore(saga(body))
    assert report.complete and report.problems == []
    early = sequence(command(charge_up_to, undo=refund), asked)
    assert [finding.rule for finding in findings(early)] == ["not-captured"]
