"""Every command has one service that carries it out and answers with what the contract names."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.payment import ChargePayment, PaymentCaptured, PaymentDeclined, PaymentRefunded, RefundPayment
from orchestrator.language import command
from orchestrator.verify import Handler, Handlers, HandlersError, read_handlers, verify_sagas
from tests.verify.planted import saga
from tests.verify.steps import charge, refund

CHARGE, REFUND = ChargePayment.type, RefundPayment.type
ANSWERS = (PaymentCaptured.type, PaymentDeclined.type, PaymentRefunded.type)
PLANTED = saga(command(charge, undo=refund))


def handlers(*known: Handler) -> Handlers:
    return Handlers(known)


def test_handled_by_one_service_that_answers() -> None:
    known = handlers(Handler(service="payment", handles=(CHARGE, REFUND), publishes=ANSWERS))
    assert verify_sagas([PLANTED], known) == ()


def test_a_command_that_no_service_handles() -> None:
    known = handlers(Handler(service="payment", handles=(CHARGE,), publishes=ANSWERS))
    (finding,) = verify_sagas([PLANTED], known)
    assert (finding.rule, finding.path, finding.line) == (
        "unhandled-command",
        "charge > undo refund",
        refund.__code__.co_firstlineno,
    )
    assert finding.message == "refund sends payment.refund.v1, which no service handles"
    assert finding.fix == (
        "add a handler for it to a service and write contracts/handlers.json anew (python -m services --write-handlers)"
        "; until there is one: verify --without-services"
    )


def test_a_command_that_two_services_would_carry_out() -> None:
    payment = Handler(service="payment", handles=(CHARGE, REFUND), publishes=ANSWERS)
    (finding,) = verify_sagas([PLANTED], handlers(payment, Handler(service="till", handles=(CHARGE,))))
    assert "which payment, till would all carry out" in finding.message
    assert finding.fix.startswith("leave it to one service")


def test_a_service_that_never_gives_one_of_the_answers() -> None:
    known = handlers(Handler(service="payment", handles=(CHARGE, REFUND), publishes=ANSWERS[1:]))
    (finding,) = verify_sagas([PLANTED], known)
    assert finding.message == "payment handles payment.charge.v1, but never answers with payment.captured.v1"


def test_the_committed_handlers_file_is_read() -> None:
    assert {handler.service for handler in read_handlers().known or ()} >= {"inventory", "payment", "shipping"}


def test_an_absent_or_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HandlersError, match="--write-handlers"):
        read_handlers(tmp_path / "handlers.json")
    wrong = tmp_path / "handlers.json"
    wrong.write_text('{"handlers": [{"service": 1}]}', encoding="utf-8")
    with pytest.raises(HandlersError, match="is not a handlers file"):
        read_handlers(wrong)
