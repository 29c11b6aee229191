"""Branches and alternatives that are never reached, or that a participant could not tell apart."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.message import Event, Identifier
from contracts.orders import OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured
from orchestrator.language import (
    Block,
    choice,
    command,
    emit,
    fallback,
    observe,
    otherwise,
    sequence,
    sleep,
    wait_for,
    when,
)
from orchestrator.verify import Handler, Handlers, verify_sagas
from tests.verify.planted import only_finding, saga
from tests.verify.steps import charge, is_large, refund, release, reserve

HOUR = timedelta(hours=1)


class Noted(Event, type="lab.noted.v1"):
    order_id: Identifier


def noted(order: OrderPlaced) -> Noted:
    return Noted(order_id=order.order_id)


def news(name: str) -> Block:
    return emit(noted, name=name)


def yes(order: OrderPlaced) -> bool:
    """Whatever it is."""
    return True


def no() -> bool:
    return False


def test_a_branch_after_one_that_always_holds() -> None:
    body = choice(
        when(yes, news("a")),
        otherwise(news("b")),  # <- after always
    )
    finding = only_finding(saga(body), __file__, "after always")
    assert (finding.rule, finding.path) == ("unreachable-branch", "choice > otherwise")
    assert finding.message == "otherwise is never reached: when yes always holds"
    assert finding.fix == "remove it, or the one before it"


def test_the_same_predicate_twice() -> None:
    body = choice(
        when(is_large, news("a")),
        when(is_large, news("b")),  # <- twice
    )
    finding = only_finding(saga(body), __file__, "twice")
    assert finding.message == "when is_large is never reached: the same predicate stands earlier"


def test_a_branch_that_never_holds() -> None:
    body = choice(
        when(no, news("a")),  # <- never
        otherwise(news("b")),
    )
    finding = only_finding(saga(body), __file__, "never")
    assert finding.fix == "remove it, or let its predicate depend on something"


def test_an_alternative_after_one_that_cannot_fail() -> None:
    body = fallback(
        sequence(news("a"), sleep(HOUR, name="nap")),
        emit(noted, name="b"),  # <- not tried
    )
    finding = only_finding(saga(body), __file__, "not tried")
    assert (finding.rule, finding.path) == ("unreachable-branch", "fallback > alternative 2")
    assert finding.message == "alternative 2 is never tried: alternative 1 cannot fail"
    waits = fallback(wait_for(Noted, key=lambda event: event.order_id, limit=HOUR), news("b"))
    assert verify_sagas([saga(waits)], Handlers.any()) == ()


def charge_again(order: OrderPlaced) -> ChargePayment:
    return ChargePayment(order_id=order.order_id, amount_cents=1, currency="EUR", payment_method="invoice")


def charge_a(order: OrderPlaced) -> ChargePayment:
    return ChargePayment(order_id=f"{order.order_id}-a", amount_cents=1, currency="EUR", payment_method="card")


def charge_b(order: OrderPlaced) -> ChargePayment:
    return ChargePayment(order_id=f"{order.order_id}-b", amount_cents=1, currency="EUR", payment_method="invoice")


def test_alternatives_that_share_a_business_reference() -> None:
    body = fallback(
        command(charge, undo=refund),
        sequence(
            command(reserve, undo=release),
            command(charge_again, undo=refund),  # <- shared
        ),
    )
    finding = only_finding(saga(body), __file__, "shared")
    assert (finding.rule, finding.path) == ("fallback-shares-reference", "fallback > charge_again")
    assert finding.message.startswith("charge and charge_again are alternatives and both send ChargePayment")
    assert finding.fix == ('let both end order_id differently (order_id=f"{...}-charge_again"), or use another command')


def test_alternatives_whose_references_are_proven_to_differ() -> None:
    body = fallback(command(charge_a, undo=refund), command(charge_b, undo=refund))
    assert verify_sagas([saga(body)], Handlers.any()) == ()
    unproven = fallback(command(charge_a, undo=refund), command(charge, undo=refund))
    assert [one.rule for one in verify_sagas([saga(unproven)], Handlers.any())] == ["fallback-shares-reference"]


def test_what_is_observed_is_published_by_some_service() -> None:
    known = Handlers((Handler(service="payment", handles=(), publishes=(PaymentCaptured.type,)),))
    body = observe(Noted, key=lambda event: event.order_id, limit=HOUR)  # <- nobody
    finding = only_finding(saga(body), __file__, "nobody", known)
    assert (finding.rule, finding.message) == (
        "unpublished-event",
        "Noted observes lab.noted.v1, which no service publishes",
    )
    assert "or say wait_for(...) if it comes from outside" in finding.fix
    outside = wait_for(Noted, key=lambda event: event.order_id, limit=HOUR)
    published = observe(PaymentCaptured, key=lambda event: event.order_id, limit=HOUR)
    assert verify_sagas([saga(sequence(outside, published))], known) == ()


def test_a_wait_has_a_limit_by_construction() -> None:
    with pytest.raises(ValueError, match="the limit must be positive"):
        wait_for(Noted, key=lambda event: event.order_id, limit=timedelta(0))
