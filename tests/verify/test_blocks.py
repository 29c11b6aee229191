"""What is captured after and inside of choice, for_each, repeat and fallback, and what their functions may ask for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import pytest

from contracts.inventory import ReleaseStock, ReserveStock, StockLine, StockReserved
from contracts.orders import OrderCancelled, OrderFulfilled, OrderLine, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured
from contracts.shipping import LabelCreated
from orchestrator.language import (
    Block,
    Ending,
    From,
    Signal,
    choice,
    command,
    emit,
    fallback,
    for_each,
    otherwise,
    parallel,
    repeat,
    sequence,
    sleep_until,
    wait_for,
    when,
)
from orchestrator.verify import Handlers, verify_sagas
from orchestrator.verify.exploration import explore
from tests.verify.planted import only_finding, saga
from tests.verify.steps import charge, create_label, is_large, lines, refund, release, reserve, reserve_line, void_label

HOUR = timedelta(hours=1)


def paid(order: OrderPlaced, captured: PaymentCaptured) -> OrderCancelled:  # <- wants a payment
    return OrderCancelled(order_id=order.order_id, customer_id=captured.payment_id, reason="refused")


def perhaps_paid(order: OrderPlaced, captured: PaymentCaptured | None) -> OrderCancelled:  # <- wants one perhaps
    return OrderCancelled(order_id=order.order_id, customer_id=order.customer_id, reason="refused")


def first_paid(order: OrderPlaced, captured: Annotated[PaymentCaptured | None, From("charge")]) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=order.customer_id, reason="refused")


def later_order(order: OrderPlaced) -> ReserveStock:
    return ReserveStock(order_id=f"{order.order_id}-b", lines=(StockLine(sku="a", quantity=1),))


def charge_a(order: OrderPlaced) -> ChargePayment:
    return ChargePayment(order_id=f"{order.order_id}-a", amount_cents=1, currency="EUR", payment_method="card")


def charge_b(order: OrderPlaced) -> ChargePayment:
    return ChargePayment(order_id=f"{order.order_id}-b", amount_cents=1, currency="EUR", payment_method="invoice")


def release_paid(order: OrderPlaced, captured: PaymentCaptured | None) -> ReleaseStock:  # <- undo wants a payment
    return ReleaseStock(order_id=order.order_id, reservation_id=captured.payment_id if captured else None)


def charged(name: str = "charge") -> Block:
    return command(charge, undo=refund, name=name)


def labelled() -> Block:
    return command(create_label, undo=void_label)


def clean(body: Block) -> bool:
    return verify_sagas([saga(body)], Handlers.any()) == ()


# choice


def test_what_one_branch_yields_is_not_captured_after_a_choice() -> None:
    finding = only_finding(
        saga(sequence(choice(when(is_large, charged()), otherwise(labelled())), emit(paid))),
        __file__,
        "wants a payment",
    )
    assert (finding.rule, finding.path) == ("not-captured", "sequence > paid")
    assert finding.message == (
        "paid wants PaymentCaptured (captured), but charge may not have succeeded with it by then"
    )
    assert finding.fix.endswith("or let every branch and every alternative yield it")
    assert clean(sequence(choice(when(is_large, charged())), emit(perhaps_paid)))


def test_what_every_branch_yields_is_captured_if_there_is_an_otherwise() -> None:
    branches = when(is_large, charged("large")), otherwise(sequence(labelled(), charged("small")))
    assert clean(sequence(choice(*branches), emit(paid)))
    assert clean(sequence(choice(*branches), emit(perhaps_paid)))
    without = sequence(choice(when(is_large, charged("large"))), emit(paid))
    assert only_finding(saga(without), __file__, "wants a payment").rule == "not-captured"


def test_two_steps_of_one_branch_are_ambiguous_all_the_same() -> None:
    body = sequence(choice(when(is_large, sequence(charged("one"), charged("two")))), emit(perhaps_paid))
    assert only_finding(saga(body), __file__, "wants one perhaps").rule == "ambiguous-injection"


def test_another_branch_is_not_captured() -> None:
    body = choice(when(is_large, charged()), otherwise(emit(paid)))
    finding = only_finding(saga(body), __file__, "wants a payment")
    assert finding.path == "choice > otherwise > paid"
    assert finding.message.endswith("but charge is in another branch of the choice")


def has_label(label: LabelCreated) -> bool:  # <- early predicate
    return label.carrier == "dhl"


def test_a_predicate_is_injected_like_a_builder() -> None:
    assert clean(sequence(labelled(), choice(when(has_label, charged()))))
    body = sequence(choice(when(has_label, charged())), labelled())
    finding = only_finding(saga(body), __file__, "early predicate")
    assert (finding.rule, finding.path) == ("not-captured", "sequence > choice > when has_label")


def test_a_predicate_is_pure_typed_and_says_bool() -> None:
    def vague(order: OrderPlaced) -> object:  # <- vague
        return order.total_cents

    finding = only_finding(saga(choice(when(vague, charged()))), __file__, "vague")  # type: ignore[arg-type]
    assert (finding.rule, finding.fix) == ("builder-makes", "write def vague(...) -> bool")
    assert finding.message == "vague says that it returns object, but bool is needed here"
    bare = choice(when(lambda order: True, charged()))  # <- bare
    finding = only_finding(saga(bare), __file__, "bare")
    assert finding.rule == "builder-signature"

    (finding,) = verify_sagas([saga(choice(when(remembers, charged())))], Handlers.any())
    assert (finding.rule, finding.message) == ("impure-builder", "remembers is not pure: it uses SEEN (a list)")


SEEN: list[str] = []


def remembers(order: OrderPlaced) -> bool:
    return order.order_id in SEEN


# for_each


def all_reserved(order: OrderPlaced, reserved: tuple[StockReserved, ...]) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=str(len(reserved)), reason="refused")


def one_reserved(order: OrderPlaced, reserved: StockReserved) -> OrderCancelled:  # <- one of many
    return OrderCancelled(order_id=order.order_id, customer_id=reserved.reservation_id, reason="refused")


def of_a_line(order: OrderPlaced, line: OrderLine) -> OrderCancelled:  # <- outside the loop
    return OrderCancelled(order_id=order.order_id, customer_id=line.sku, reason="refused")


def of_lines(order: OrderPlaced, line: tuple[OrderLine, ...]) -> OrderCancelled:  # <- many lines
    return OrderCancelled(order_id=order.order_id, customer_id=order.customer_id, reason="refused")


def per_line(*more: Block) -> Block:
    return for_each(lines, sequence(command(reserve_line, undo=release), *more), bound=10)


def test_after_a_for_each_its_outcomes_are_a_tuple() -> None:
    assert clean(sequence(per_line(), emit(all_reserved)))
    finding = only_finding(saga(sequence(per_line(), emit(one_reserved))), __file__, "one of many")
    assert (finding.rule, finding.path) == ("injected-shape", "sequence > one_reserved")
    assert finding.message == (
        "one_reserved wants one StockReserved (reserved), but reserve_line happens for each element of lines"
    )
    assert finding.fix == "declare it as reserved: tuple[StockReserved, ...]; the outcomes are in element order"


def test_inside_a_for_each_an_element_sees_its_own_outcomes_and_what_was_before() -> None:
    assert clean(sequence(charged(), per_line(emit(one_reserved), emit(paid))))
    beside = for_each(lines, parallel(command(reserve_line, undo=release), emit(one_reserved)), bound=10)
    assert only_finding(saga(beside), __file__, "one of many").rule == "not-captured"


def test_an_element_is_known_in_its_loop_only() -> None:
    assert clean(per_line(emit(of_a_line)))
    finding = only_finding(saga(sequence(per_line(), emit(of_a_line))), __file__, "outside the loop")
    assert (finding.rule, finding.fix) == (
        "not-captured",
        "move it into the for_each whose elements are OrderLine, or take a message that has what it needs",
    )
    finding = only_finding(saga(per_line(emit(of_lines))), __file__, "many lines")
    assert (finding.rule, finding.fix) == ("injected-shape", "declare it as line: OrderLine")


def test_the_elements_are_pydantic_models() -> None:
    def skus(order: OrderPlaced) -> tuple[str, ...]:  # <- skus
        return tuple(line.sku for line in order.lines)

    loop = for_each(skus, charged(), bound=3)
    finding = only_finding(saga(loop), __file__, "skus")
    assert (finding.rule, finding.path) == ("builder-signature", "for_each skus")


def test_for_each_has_a_bound_by_construction() -> None:
    with pytest.raises(ValueError, match="bound must be"):
        for_each(lines, charged(), bound=0)


# repeat


def is_enough(reserved: StockReserved) -> bool:  # <- until
    return bool(reserved.lines)


def test_a_repeat_captures_its_latest_round_and_until_sees_it() -> None:
    body = sequence(repeat(command(reserve, undo=release), until=is_enough, bound=3), emit(one_reserved))
    assert clean(body)
    finding = only_finding(saga(repeat(charged(), until=is_enough, bound=3)), __file__, "until")
    assert (finding.rule, finding.path) == ("not-captured", "repeat is_enough > until")


# fallback


def test_of_a_fallback_only_what_every_alternative_yields_is_captured() -> None:
    one_yields = sequence(fallback(charged(), command(reserve, undo=release)), emit(paid))
    assert only_finding(saga(one_yields), __file__, "wants a payment").rule == "not-captured"
    both = sequence(fallback(command(reserve, undo=release), command(later_order, undo=release)), emit(one_reserved))
    assert [finding.rule for finding in verify_sagas([saga(both)], Handlers.any())] == ["fallback-shares-reference"]


def test_an_alternative_does_not_see_what_the_one_before_it_did() -> None:
    finding = only_finding(saga(fallback(charged(), emit(paid))), __file__, "wants a payment")
    assert finding.message.endswith("but charge is in another alternative of the fallback")


def test_what_an_abandoned_alternative_had_captured_is_not_seen_outside() -> None:
    first = sequence(command(charge_a, undo=refund), command(reserve, undo=release))
    body = sequence(fallback(first, command(charge_b, undo=refund)), emit(paid))
    assert clean(body)
    assert explore(saga(body)).problems == []


def test_but_its_own_undo_sees_both() -> None:
    first = sequence(command(charge_a, undo=refund), command(reserve, undo=release_paid))
    body = fallback(first, command(charge_b, undo=refund))
    finding = only_finding(saga(body), __file__, "undo wants a payment")
    assert finding.rule == "ambiguous-injection"


# sleep


def tomorrow(order: OrderPlaced) -> str:  # <- no moment
    return order.order_id


def after_charge(captured: PaymentCaptured) -> datetime:  # <- early moment
    raise ValueError(captured.payment_id)


def test_a_moment_is_a_datetime_of_what_is_captured() -> None:
    finding = only_finding(saga(sequence(sleep_until(tomorrow), charged())), __file__, "no moment")  # type: ignore[arg-type]
    assert finding.fix == "write def tomorrow(...) -> datetime"
    finding = only_finding(saga(sequence(sleep_until(after_charge), charged())), __file__, "early moment")
    assert (finding.rule, finding.path) == ("not-captured", "sequence > after_charge")


# waits


class Consent(Signal, name="consent"):
    note: str


def consented(order: OrderPlaced, consent: Consent, fulfilled: OrderFulfilled) -> OrderCancelled:  # <- wants consent
    return OrderCancelled(order_id=order.order_id, customer_id=consent.note, reason="refused")


def key(event: OrderFulfilled) -> str:
    return event.order_id


def no_key(event: OrderFulfilled) -> str:  # <- no key
    return event.order_number  # type: ignore[attr-defined, no-any-return]


def test_waits_capture_what_they_waited_for() -> None:
    waits = wait_for(Consent, limit=HOUR, name="consent"), wait_for(OrderFulfilled, key=key, limit=HOUR)
    assert clean(sequence(*waits, emit(consented)))
    finding = only_finding(saga(sequence(waits[1], emit(consented), waits[0])), __file__, "wants consent")
    assert (finding.rule, finding.fix) == ("not-captured", "move the step after consent, or do without Consent")


def test_the_correlation_key_is_read_from_the_event() -> None:
    waits = wait_for(OrderFulfilled, key=no_key, limit=HOUR)
    finding = only_finding(saga(waits), __file__, "no key")
    assert (finding.rule, finding.path) == ("correlation-key", "OrderFulfilled")
    assert finding.message == "OrderFulfilled is correlated by order_number, which OrderFulfilled lacks"
    assert finding.fix.startswith("take the business key from one of order_id, customer_id")


def notice(order: OrderPlaced, captured: tuple[PaymentCaptured, ...] | None, ending: Ending) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=str(captured), reason=ending.reason)


def test_a_tuple_is_never_absent() -> None:
    (finding,) = verify_sagas([saga(charged(), cancelled=emit(notice))], Handlers.any())
    assert (finding.rule, finding.fix) == ("needless-optional", "declare it as tuple[PaymentCaptured, ...]")
