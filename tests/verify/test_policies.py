"""Retries and durations that can be meant."""

from __future__ import annotations

from datetime import timedelta

from contracts.inventory import StockUnavailable
from contracts.payment import PaymentDeclined
from orchestrator.language import Retry, Undo, command, for_each, parallel, pivot, sequence, sleep
from orchestrator.verify import Handlers, verify_sagas
from orchestrator.verify.rules.timing import PATIENCE_MAX
from services.sdk.inbox_retention import RETENTION_MS
from tests.verify.planted import only_finding, saga
from tests.verify.steps import charge, create_label, lines, refund, release, reserve_line, void_label

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
        command(charge, undo=refund, retry=patient, patience=10 * HOUR),  # <- long
        pivot(),
        command(create_label, undo=void_label, retry=patient, patience=10 * HOUR),
    )
    finding = only_finding(saga(body, deadline=HOUR), __file__, "long")
    assert finding.rule == "retry-never-happens"
    assert finding.fix == "lower attempts or maximum, or raise the saga's deadline"
    assert verify_sagas([saga(body, deadline=24 * HOUR)], Handlers.any()) == ()


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


def test_back_offs_that_outlast_the_patience() -> None:
    step = command(charge, undo=refund, retry=Retry(attempts=5, first=MINUTE), patience=3 * MINUTE)  # <- outlasts
    finding = only_finding(saga(step), __file__, "outlasts")
    assert (finding.rule, finding.path, finding.fix) == (
        "retry-outlasts-patience",
        "charge",
        "lower attempts or maximum, or raise patience",
    )
    assert finding.message == "the back-offs of charge take 0:04:00, but its patience is 0:03:00"
    hasty = Undo(refund, retry=Retry(attempts=9, first=MINUTE), patience=3 * MINUTE)
    undone = command(charge, undo=hasty)  # <- undo outlasts
    assert only_finding(saga(undone), __file__, "undo outlasts").message.startswith(
        "the back-offs of the undo of charge"
    )


def test_a_deadline_shorter_than_the_limits_before_the_pivot() -> None:
    once = Retry(attempts=1)
    body = sequence(
        parallel(command(charge, undo=refund, retry=once, patience=HOUR), sleep(MINUTE, name="short")),
        for_each(lines, command(reserve_line, undo=release, retry=once, patience=MINUTE), bound=10, concurrency=4),
        sleep(HOUR, name="cool_off"),
        pivot(),
        command(create_label, undo=void_label, patience=9 * HOUR),
    )
    planted = saga(body, deadline=2 * HOUR)
    (finding,) = verify_sagas([planted], Handlers.any())
    assert (finding.rule, finding.file, finding.line) == (
        "deadline-too-short",
        planted.location.file,
        planted.location.line,
    )
    assert finding.path == "charge (1:00:00) > lines (3 times 0:01:00) > cool_off (1:00:00)"
    assert finding.message == "the deadline is 2:00:00, but the limits of its own blocks add up to 2:03:00"
    assert finding.fix.startswith("raise the deadline to at least 2:03:00, or lower")
    assert verify_sagas([saga(body, deadline=3 * HOUR)], Handlers.any()) == ()


def test_a_sleep_of_no_time() -> None:
    nap = sleep(timedelta(0), name="nap")  # <- nap
    finding = only_finding(saga(sequence(nap, command(charge, undo=refund))), __file__, "nap")
    assert (finding.rule, finding.fix) == ("timing", "give a positive duration, or remove it")
