"""`migration`: what a version says that it takes over, it can take over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.orders import OrderPlaced
from orchestrator.language import Migration, Saga, command, parallel, sequence
from orchestrator.language.blocks import Block
from orchestrator.verify import Finding, Handlers, verify_sagas
from orchestrator.verify.versions import check_versions, record
from tests.verify import steps
from tests.verify.planted import line_of, saga

RESERVE = command(steps.reserve, undo=steps.release)
CHARGE = command(steps.charge, undo=steps.refund)
LABEL = command(steps.create_label, undo=steps.void_label)
OLD = saga(sequence(RESERVE, CHARGE))


def newer(*blocks: Block, renamed: dict[str, str] | None = None, **more: Any) -> Saga:
    made = replace(saga(sequence(*blocks), migrates=()), version=2, migrates=(Migration(1, renamed or {}),))
    return replace(made, **more)


def findings(*sagas: Saga) -> tuple[Finding, ...]:
    return verify_sagas(sagas, Handlers.any())


def only(planted: Saga, marker: str | None = None) -> Finding:
    (finding,) = findings(OLD, planted)
    assert finding.rule == "migration" and finding.file == __file__ and "migration from version 1" in finding.path
    if marker is not None:
        assert finding.line == line_of(__file__, marker)
    return finding


@pytest.mark.parametrize(
    "fine",
    [
        newer(RESERVE, CHARGE, LABEL),
        newer(RESERVE, LABEL),
        newer(command(steps.reserve, undo=steps.release, name="hold"), CHARGE, renamed={"reserve": "hold"}),
    ],
)
def test_what_can_be_taken_over_is_no_finding(fine: Saga) -> None:
    assert findings(OLD, fine) == ()


def test_a_name_that_the_older_version_does_not_have() -> None:
    found = only(newer(RESERVE, CHARGE, renamed={"reserv": "reserve"}))
    assert "version 1 has no block reserv" in found.message and "charge, reserve" in found.fix


def test_a_name_that_the_newer_version_does_not_have() -> None:
    found = only(newer(RESERVE, CHARGE, renamed={"charge": "pay"}))
    assert "version 2 has no block pay" in found.message


def test_a_name_that_was_given_to_another_block() -> None:
    hold = command(steps.reserve, undo=steps.release, name="hold")
    taken = command(steps.create_label, undo=steps.void_label, name="reserve")  # <- taken
    found = only(newer(hold, CHARGE, taken, renamed={"reserve": "hold"}), "taken")
    assert "another block is called reserve now" in found.message


def test_a_step_that_means_something_else() -> None:
    other = command(steps.create_label, undo=steps.void_label, name="charge")  # <- other
    found = only(newer(RESERVE, other), "other")
    assert found.message == (
        "a process that has begun charge can never be moved from version 1: "
        "charge sends payment.charge.v1, and then shipping.create-label.v1"
    )
    assert "give it another name" in found.fix


def test_an_undo_that_became_another() -> None:
    kept = command(steps.charge, irreversible=True)  # <- kept
    assert "charge is undone by payment.refund.v1, and then by nothing" in only(newer(RESERVE, kept), "kept").message


def test_a_beginning_that_no_process_can_have_passed() -> None:
    found = only(newer(LABEL, RESERVE, CHARGE))
    assert found.message == "no process can ever be moved from version 1: create_label stands where reserve should be"
    side_by_side = replace(newer(RESERVE), body=parallel(RESERVE, CHARGE))
    assert "the sequence around reserve is a sequence, and in its place" in only(side_by_side).message


def test_another_start_event() -> None:
    class OrderPlacedAgain(OrderPlaced, type="orders.placed-again.v1"):
        pass

    other = replace(newer(RESERVE), starts_on=OrderPlacedAgain, body=command(steps.reserve, undo=steps.release))
    assert any(
        "starts on orders.placed.v1, this one on orders.placed-again.v1" in f.message for f in findings(OLD, other)
    )


def test_a_version_that_there_has_never_been() -> None:
    made = newer(RESERVE, CHARGE)
    (finding,) = check_versions([made], record([made], {}, replace=False))
    assert finding.rule == "migration" and "which there has never been" in finding.message
    assert check_versions([made], record([OLD, made], {}, replace=False)) == ()
    assert check_versions([OLD, made], record([OLD, made], {}, replace=False)) == ()


def test_the_declaration_is_part_of_the_fingerprint_and_its_absence_is_not() -> None:
    made = newer(RESERVE, CHARGE)
    recorded = record([OLD, replace(made, migrates=())], {}, replace=False)
    (finding,) = check_versions([OLD, made], recorded)
    assert finding.rule == "changed-without-version"
