"""What builders may ask for: captured on every path, unambiguous, from a step that yields it, optional where needed."""

from __future__ import annotations

from typing import Annotated

from contracts.orders import OrderCancelled, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured, PaymentDeclined
from contracts.shipping import DispatchOrder, LabelCreated, OrderDispatched
from orchestrator.language import CommandStep, Ending, From, command, emit, parallel, pivot, sequence
from orchestrator.verify import Handlers, verify_sagas
from tests.verify.planted import only_finding, saga
from tests.verify.steps import charge, create_label, refund, release, reserve, void_label


def label_step() -> CommandStep:
    return command(create_label, undo=void_label)


def dispatch(label: LabelCreated) -> DispatchOrder:  # <- demands a label
    return DispatchOrder(order_id=label.order_id, label_id=label.label_id)


def test_captured_before_is_fine() -> None:
    body = sequence(label_step(), pivot(), command(dispatch))
    assert verify_sagas([saga(body)], Handlers.any()) == ()


def test_a_step_of_a_parallel_sibling_is_not_captured_yet() -> None:
    body = parallel(label_step(), command(dispatch, irreversible=True))
    finding = only_finding(saga(body), __file__, "demands a label")
    assert finding.rule == "not-captured"
    assert finding.message == (
        "dispatch wants LabelCreated (label), but create_label runs beside it and may not have succeeded yet"
    )
    assert finding.fix.startswith("place it after the parallel block, or declare it as LabelCreated | None")
    assert finding.path == "parallel > dispatch"


def test_a_step_deep_in_a_sibling_is_not_captured_either() -> None:
    body = parallel(sequence(command(reserve, undo=release), label_step()), command(dispatch, irreversible=True))
    assert only_finding(saga(body), __file__, "demands a label").rule == "not-captured"


def test_what_a_whole_parallel_block_did_is_captured_after_it() -> None:
    body = sequence(parallel(command(reserve, undo=release), label_step()), pivot(), command(dispatch))
    assert verify_sagas([saga(body)], Handlers.any()) == ()


def test_a_later_step_is_not_captured() -> None:
    body = sequence(command(dispatch, irreversible=True), label_step())
    finding = only_finding(saga(body), __file__, "demands a label")
    assert (finding.rule, finding.message) == (
        "not-captured",
        "dispatch wants LabelCreated (label), but create_label only begins after it",
    )
    assert finding.fix == "move the step after create_label, or do without LabelCreated"


def test_what_no_step_yields_is_never_captured() -> None:
    finding = only_finding(saga(sequence(command(dispatch, irreversible=True))), __file__, "demands a label")
    assert (finding.rule, finding.fix) == (
        "not-captured",
        "take it from the start event or from a step whose command names it as an outcome",
    )


def hopeful_dispatch(order: OrderPlaced, label: LabelCreated | None) -> DispatchOrder:  # <- optional and later
    return DispatchOrder(order_id=order.order_id, label_id=label.label_id if label else "none")


def test_an_optional_value_must_be_able_to_arrive() -> None:
    body = sequence(command(hopeful_dispatch, irreversible=True), label_step())
    assert only_finding(saga(body), __file__, "optional and later").rule == "not-captured"


def test_an_optional_value_of_a_sibling_is_fine() -> None:
    body = parallel(label_step(), command(hopeful_dispatch, irreversible=True))
    assert verify_sagas([saga(body)], Handlers.any()) == ()


def charge_twice(order: OrderPlaced, captured: PaymentCaptured) -> ChargePayment:  # <- own outcome
    return ChargePayment(
        order_id=order.order_id, amount_cents=captured.amount_cents, currency=order.currency, payment_method="m"
    )


def test_the_own_outcome_is_not_there_for_the_forward_builder() -> None:
    finding = only_finding(saga(command(charge_twice, irreversible=True)), __file__, "own outcome")
    assert finding.rule == "not-captured"
    assert "that is the step's own outcome" in finding.message


def after_refusal(order: OrderPlaced, declined: PaymentDeclined) -> DispatchOrder:  # <- demands a refusal
    return DispatchOrder(order_id=order.order_id, label_id=declined.code)


def test_a_refusal_is_never_certain() -> None:
    body = sequence(command(charge, undo=refund), command(after_refusal, irreversible=True))
    finding = only_finding(saga(body), __file__, "demands a refusal")
    assert (finding.rule, finding.message) == (
        "not-captured",
        "after_refusal wants PaymentDeclined (declined), but a refusal is never certain (it answers charge)",
    )
    assert finding.fix == "declare it as PaymentDeclined | None and build without it"


def declined_notice(order: OrderPlaced, declined: PaymentDeclined) -> OrderCancelled:  # <- refusal in cancelled
    return OrderCancelled(order_id=order.order_id, customer_id=declined.code, reason="refused")


def test_a_refusal_is_not_certain_in_cancelled_either_since_another_step_may_have_failed() -> None:
    planted = saga(sequence(command(charge, undo=refund)), cancelled=emit(declined_notice))
    finding = only_finding(planted, __file__, "refusal in cancelled")
    assert (finding.rule, finding.path) == ("not-captured", "cancelled > declined_notice")


def captured_notice(order: OrderPlaced, captured: PaymentCaptured) -> OrderCancelled:  # <- success in cancelled
    return OrderCancelled(order_id=order.order_id, customer_id=captured.payment_id, reason="refused")


def test_no_step_is_certain_in_cancelled() -> None:
    planted = saga(sequence(command(charge, undo=refund)), cancelled=emit(captured_notice))
    finding = only_finding(planted, __file__, "success in cancelled")
    assert (finding.rule, finding.fix) == (
        "not-captured",
        "declare it as PaymentCaptured | None and build without it",
    )


def either(order: OrderPlaced, dispatched: OrderDispatched) -> OrderCancelled:  # <- ambiguous
    return OrderCancelled(order_id=order.order_id, customer_id=dispatched.tracking_number, reason="failed")


def first(order: OrderPlaced, dispatched: Annotated[OrderDispatched, From("dispatch")]) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=dispatched.tracking_number, reason="failed")


def test_two_steps_of_one_type_are_ambiguous_without_from() -> None:
    twice = (label_step(), pivot(), command(dispatch), command(dispatch, name="dispatch_again"))
    finding = only_finding(saga(sequence(*twice, emit(either))), __file__, "ambiguous")
    assert (finding.rule, finding.fix) == (
        "ambiguous-injection",
        'say which one: dispatched: Annotated[OrderDispatched, From("dispatch")]',
    )
    assert verify_sagas([saga(sequence(*twice, emit(first)))], Handlers.any()) == ()


def test_only_steps_that_may_have_come_before_are_ambiguous() -> None:
    body = sequence(label_step(), pivot(), command(dispatch), emit(either), command(dispatch, name="dispatch_again"))
    assert verify_sagas([saga(body)], Handlers.any()) == ()


def from_nowhere(order: OrderPlaced, dispatched: Annotated[OrderDispatched | None, From("send")]) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id="c", reason="failed")


def from_other(order: OrderPlaced, dispatched: Annotated[OrderDispatched, From("create_label")]) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id="c", reason="failed")


def test_from_names_an_existing_step_that_yields_the_type() -> None:
    steps = (label_step(), pivot(), command(dispatch))
    (finding,) = verify_sagas([saga(sequence(*steps, emit(from_nowhere)))], Handlers.any())
    assert (finding.rule, finding.fix) == ("unknown-source", "name one of dispatch")
    assert "from 'send', which is no command step of this saga" in finding.message
    (finding,) = verify_sagas([saga(sequence(*steps, emit(from_other)))], Handlers.any())
    assert (finding.rule, finding.line) == ("unknown-source", from_other.__code__.co_firstlineno)
    assert "from 'create_label', which never yields OrderDispatched" in finding.message


def test_from_a_later_step_is_not_captured() -> None:
    body = sequence(label_step(), pivot(), emit(first), command(dispatch))
    (finding,) = verify_sagas([saga(body)], Handlers.any())
    assert finding.rule == "not-captured"


def doubtful(order: OrderPlaced | None) -> DispatchOrder:  # <- optional start
    return DispatchOrder(order_id=order.order_id if order else "none", label_id="l")


def test_the_start_event_is_never_absent() -> None:
    finding = only_finding(saga(command(doubtful, irreversible=True)), __file__, "optional start")
    assert (finding.rule, finding.fix) == ("needless-optional", "declare it as OrderPlaced")


def early_ending(order: OrderPlaced, ending: Ending) -> DispatchOrder:  # <- ending in the body
    return DispatchOrder(order_id=order.order_id, label_id=ending.reason)


def test_the_ending_is_known_in_cancelled_only() -> None:
    finding = only_finding(saga(command(early_ending, irreversible=True)), __file__, "ending in the body")
    assert (finding.rule, finding.fix) == (
        "ending-outside-cancelled",
        "use Ending in the builders of the saga's cancelled= block only",
    )
