"""`on_stuck` in verify: what may stand in it, what its functions may ask for, and how it is explored and drawn."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.orders import OrderCancelled, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured
from orchestrator.language import (
    Block,
    Ending,
    Saga,
    Signal,
    Stuck,
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
from orchestrator.language.draw import draw_mermaid
from orchestrator.language.draw_svg import draw_svg
from orchestrator.verify import Handlers, verify_sagas
from orchestrator.verify.exploration import explore
from tests.verify.planted import only_finding, saga
from tests.verify.steps import charge, lines, refund

HALF_HOUR = timedelta(minutes=30)


def page(order: OrderPlaced, stuck: Stuck, captured: PaymentCaptured | None) -> OrderCancelled:
    who = "" if captured is None else captured.payment_id
    return OrderCancelled(order_id=order.order_id, customer_id=f"{stuck.address}{who}", reason="operator")


def escalate(order: OrderPlaced, stuck: Stuck) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=str(stuck.number), reason="operator")


def again(order: OrderPlaced, stuck: Stuck) -> bool:
    return stuck.number > 1


def often_enough(order: OrderPlaced) -> bool:
    return order.total_cents < 100


ALERTS = repeat(
    sequence(
        choice(when(again, emit(escalate, name="at_once")), otherwise(emit(page))),
        sleep(HALF_HOUR, name="patience"),
        emit(escalate),
    ),
    until=often_enough,
    bound=4,
)


def stuck_saga(on_stuck: Block) -> Saga:
    return saga(command(charge, undo=refund), on_stuck=on_stuck)


def test_alerts_that_only_tell_are_proven_and_explored() -> None:
    assert verify_sagas([stuck_saga(ALERTS)], Handlers.any()) == ()
    report = explore(stuck_saga(ALERTS))
    assert report.problems == [] and report.complete


class Released(Signal, name="released"):
    pass


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (command(charge, undo=refund, name="another"), "a command may fail"),
        (command(charge, name="another"), "a command may fail"),
        (wait_for(Released, limit=HALF_HOUR), "nothing comes to an alert"),
        (approval("sign", role="clerk", limit=HALF_HOUR), "is not an approval"),
        (parallel(emit(escalate), emit(page)), "one alert after the other"),
        (fallback(sleep(HALF_HOUR, name="nap"), emit(escalate)), "nothing falls back"),
        (for_each(lines, emit(escalate), bound=3), "does not depend on a list"),
    ],
)
def test_what_could_get_stuck_itself_is_refused(block: Block, why: str) -> None:
    found = list(verify_sagas([stuck_saga(sequence(emit(page, name="p"), block))], Handlers.any()))
    rules = [one for one in found if one.rule == "on-stuck-alerts-only"]
    assert len(rules) == 1 and why in rules[0].message and "emit(...)" in rules[0].fix
    assert rules[0].path.startswith("on_stuck > sequence > ") and rules[0].file == __file__
    assert [one.rule for one in found if one not in rules] in ([], ["unreachable-branch"])


def test_a_pivot_is_refused_too() -> None:
    found = verify_sagas([stuck_saga(sequence(emit(page), pivot()))], Handlers.any())
    assert "on-stuck-alerts-only" in {one.rule for one in found}


def demanding(order: OrderPlaced, captured: PaymentCaptured) -> OrderCancelled:  # <- demanding
    return OrderCancelled(order_id=order.order_id, customer_id=captured.payment_id, reason="operator")


def test_nothing_but_the_start_is_sure_there() -> None:
    found = only_finding(stuck_saga(emit(demanding)), __file__, "demanding")
    assert found.rule == "not-captured" and "charge may not have succeeded with it by then" in found.message
    assert found.fix.startswith("declare it as PaymentCaptured | None")


def ending_there(order: OrderPlaced, ending: Ending) -> OrderCancelled:  # <- ending there
    return OrderCancelled(order_id=order.order_id, customer_id="c", reason=ending.reason)


def test_there_may_be_no_ending() -> None:
    assert only_finding(stuck_saga(emit(ending_there)), __file__, "ending there").rule == "ending-outside-cancelled"


def stuck_there(order: OrderPlaced, stuck: Stuck) -> ChargePayment:  # <- stuck there
    return ChargePayment(order_id=order.order_id, amount_cents=stuck.number, currency="EUR", payment_method="card")


def test_elsewhere_nothing_is_stuck() -> None:
    found = only_finding(saga(command(stuck_there, undo=refund)), __file__, "stuck there")
    assert found.rule == "stuck-outside-on-stuck" and "on_stuck=" in found.fix


def perhaps(order: OrderPlaced, stuck: Stuck | None) -> OrderCancelled:  # <- perhaps
    return OrderCancelled(order_id=order.order_id, customer_id="c", reason="operator")


def test_it_is_never_absent() -> None:
    assert only_finding(stuck_saga(emit(perhaps)), __file__, "perhaps").rule == "needless-optional"


def buggy(order: OrderPlaced, stuck: Stuck) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=order.lines[5].sku, reason="operator")


def test_a_bug_that_would_disturb_nothing_is_found_all_the_same() -> None:
    (found,) = verify_sagas([stuck_saga(emit(buggy))], Handlers.any())
    assert found.rule == "explored" and "buggy cannot alert anybody: buggy raised IndexError" in found.message


def test_it_is_drawn_beside_the_process() -> None:
    drawn = draw_mermaid(stuck_saga(ALERTS))
    assert 'alerts(["as long as it is stuck"])' in drawn and "escalate" in drawn and "sleeps 30 min" in drawn
    assert "as long as it is stuck" in draw_svg(stuck_saga(ALERTS))
    assert "alerts" not in draw_mermaid(saga(command(charge, undo=refund)))
