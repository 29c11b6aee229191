"""What is done before the point of no return can be undone, whatever is known of it."""

from __future__ import annotations

from contracts.message import Command
from contracts.orders import OrderPlaced
from contracts.payment import PaymentCaptured, PaymentDeclined, PaymentRefunded, RefundPayment
from contracts.shipping import VoidLabel
from orchestrator.language import command, emit, parallel, pivot, sequence
from orchestrator.verify import Handlers, verify_sagas
from tests.verify.planted import only_finding, saga
from tests.verify.steps import cancelled, charge, create_label, refund, release, reserve, void_label


def test_a_step_before_the_pivot_has_an_undo() -> None:
    body = sequence(
        command(charge),  # <- no undo
        pivot(),
        command(create_label),
    )
    finding = only_finding(saga(body), __file__, "no undo")
    assert (finding.rule, finding.path) == ("no-undo", "sequence > charge")
    assert finding.fix == "give it undo=, or say irreversible=True, or place it after pivot()"


def test_or_says_that_it_is_irreversible_but_not_both() -> None:
    assert verify_sagas([saga(command(charge, irreversible=True))], Handlers.any()) == ()
    both = command(charge, undo=refund, irreversible=True)  # <- both
    assert only_finding(saga(both), __file__, "both").fix == "keep one of undo= and irreversible=True"


def test_without_a_pivot_every_step_has_one() -> None:
    body = sequence(
        command(charge, undo=refund),
        parallel(
            command(create_label, undo=void_label),
            command(reserve),  # <- no undo either
        ),
    )
    assert only_finding(saga(body), __file__, "no undo either").rule == "no-undo"


def test_an_undo_past_the_pivot_is_allowed_since_it_undoes_a_second_success() -> None:
    body = sequence(command(charge, undo=refund), pivot(), command(create_label, undo=void_label))
    assert verify_sagas([saga(body, cancelled=emit(cancelled))], Handlers.any()) == ()


def certain_refund(order: OrderPlaced, captured: PaymentCaptured) -> RefundPayment:  # <- demands its own
    return RefundPayment(order_id=order.order_id, payment_id=captured.payment_id)


def test_an_undo_does_not_demand_its_own_outcome() -> None:
    finding = only_finding(saga(command(charge, undo=certain_refund)), __file__, "demands its own")
    assert (finding.rule, finding.path) == ("undo-demands-own-outcome", "charge > undo certain_refund")
    assert finding.fix.startswith("declare it as PaymentCaptured | None;")


def void_paid(order: OrderPlaced, captured: PaymentCaptured) -> VoidLabel:  # <- demands a payment
    return VoidLabel(order_id=order.order_id, label_id=captured.payment_id)


def test_an_undo_uses_only_what_is_captured_on_every_path() -> None:
    before = sequence(command(charge, undo=refund), command(create_label, undo=void_paid))
    assert verify_sagas([saga(before)], Handlers.any()) == ()
    beside = parallel(command(charge, undo=refund), command(create_label, undo=void_paid))
    after = sequence(command(create_label, undo=void_paid), command(charge, undo=refund))
    for body in (beside, after):
        finding = only_finding(saga(body), __file__, "demands a payment")
        assert finding.rule == "not-captured"
        assert finding.fix == "declare it as PaymentCaptured | None and build without it"


class AskForRefund(Command, type="payment.ask-for-refund.v1", succeeds=PaymentRefunded, refuses=PaymentDeclined):
    order_id: str


def ask_for_refund(order: OrderPlaced) -> AskForRefund:  # <- refusable
    return AskForRefund(order_id=order.order_id)


def test_an_undo_cannot_be_refused() -> None:
    finding = only_finding(saga(command(charge, undo=ask_for_refund)), __file__, "refusable")
    assert (finding.rule, finding.fix) == (
        "undo-may-be-refused",
        "undo with a command whose contract has no refuses=",
    )


def test_release_is_the_undo_that_may_be_used_twice() -> None:
    """One function may undo two steps: in each it sees that step's own outcome."""
    body = sequence(command(reserve, undo=release), command(reserve, undo=release, name="reserve_more"))
    assert verify_sagas([saga(body)], Handlers.any()) == ()
