"""Retries and durations that can be meant."""

from __future__ import annotations

from datetime import timedelta

from contracts.inventory import StockUnavailable
from contracts.payment import PaymentDeclined
from orchestrator.language import Retry, Undo, command, pivot, sequence
from orchestrator.verify import Handlers, verify_sagas
from orchestrator.verify.rules.timing import PATIENCE_MAX
from services.sdk.inbox_retention import RETENTION_MS
from tests.verify.planted import only_finding, saga
from tests.verify.steps import charge, create_label, refund, void_label

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def test_retry_on_a_refusal_of_another_command() -> None:
    step = command(charge, undo=refund, retry=Retry(on=(StockUnavailable,)))  # <- foreign
    finding = only_finding(saga(step), __file__, "foreign")
    assert (finding.rule, finding.fix) == (
        "retry-never-happens",
        "name refusals of the step's own command in Retry(on=...)",
    )
    assert "refused by PaymentDeclined" in finding.message
    own = command(charge, undo=refund, retry=Retry(on=(PaymentDeclined,)))
    assert verify_sagas([saga(own)], Handlers.any()) == ()


def test_retry_on_a_refusal_with_one_attempt() -> None:
    step = command(charge, undo=refund, retry=Retry(attempts=1, on=(PaymentDeclined,)))  # <- once
    assert only_finding(saga(step), __file__, "once").fix == "raise attempts, or drop on="


def test_an_undo_that_is_retried_on_a_refusal() -> None:
    step = command(charge, undo=Undo(refund, retry=Retry(on=(PaymentDeclined,))))  # <- undo on
    assert only_finding(saga(step), __file__, "undo on").fix == "drop on= from the undo's Retry"


def test_retries_that_outlive_the_deadline() -> None:
    patient = Retry(attempts=10, first=10 * MINUTE, maximum=HOUR)
    body = sequence(
        command(charge, undo=refund, retry=patient),  # <- long
        pivot(),
        command(create_label, undo=void_label, retry=patient),
    )
    finding = only_finding(saga(body, deadline=HOUR), __file__, "long")
    assert finding.rule == "retry-never-happens"
    assert finding.fix == "lower attempts or maximum, or raise the saga's deadline"
    assert verify_sagas([saga(body, deadline=12 * HOUR)], Handlers.any()) == ()


def test_a_timeout_longer_than_the_patience() -> None:
    step = command(charge, undo=refund, timeout=MINUTE, patience=SECOND)  # <- impatient
    finding = only_finding(saga(step), __file__, "impatient")
    assert (finding.rule, finding.fix) == ("timing", "make timeout shorter than patience")


def test_durations_are_positive() -> None:
    step = command(charge, undo=Undo(refund, timeout=-SECOND))  # <- negative
    finding = only_finding(saga(step), __file__, "negative")
    assert (finding.rule, finding.fix) == ("timing", "give positive durations")
    assert finding.message.startswith("the undo of charge has timeout")
    fine = command(charge, undo=refund)
    planted = saga(fine, deadline=timedelta(0))
    (finding,) = verify_sagas([planted], Handlers.any())
    assert (finding.rule, finding.line) == ("timing", planted.location.line)


def test_services_do_not_take_what_is_older_than_their_retention() -> None:
    step = command(charge, undo=refund, patience=48 * HOUR)  # <- too patient
    finding = only_finding(saga(step), __file__, "too patient")
    assert (finding.rule, finding.fix) == ("timing", "make patience at most 23:00:00")
    assert timedelta(milliseconds=RETENTION_MS) - PATIENCE_MAX == HOUR


def test_a_deadline_shorter_than_a_patience_is_fine() -> None:
    assert verify_sagas([saga(command(charge, undo=refund), deadline=MINUTE)], Handlers.any()) == ()
