"""Blocks in their places: the pivot, empty blocks, names, and two sagas of one name."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.language import Block, Saga, command, emit, parallel, pivot, sequence, sleep
from orchestrator.verify import Handlers, verify_sagas
from tests.verify.planted import line_of, only_finding, saga
from tests.verify.steps import cancelled, charge, create_label, refund, void_label


def charged() -> Block:
    return command(charge, undo=refund)


def labelled() -> Block:
    return command(create_label, undo=void_label)


def test_a_pivot_in_a_parallel_block() -> None:
    body = sequence(
        parallel(
            labelled(),
            pivot(),  # <- in parallel
        ),
        charged(),
    )
    finding = only_finding(saga(body), __file__, "in parallel")
    assert (finding.rule, finding.path) == ("pivot-misplaced", "sequence > parallel > pivot")
    assert finding.message == "a pivot inside a parallel is not at the top level of the saga"
    assert finding.fix == "place pivot() directly in the sequence(...) that is the saga's body"


def test_a_pivot_in_a_nested_sequence() -> None:
    inner = sequence(
        labelled(),
        pivot(),  # <- nested
    )
    assert only_finding(saga(sequence(inner, charged())), __file__, "nested").rule == "pivot-misplaced"


def test_a_pivot_in_cancelled() -> None:
    last = sequence(
        pivot(),  # <- in cancelled
        emit(cancelled),
    )
    finding = only_finding(saga(charged(), cancelled=last), __file__, "in cancelled")
    assert (finding.rule, finding.path) == ("pivot-misplaced", "cancelled > sequence > pivot")


def test_a_second_pivot() -> None:
    body = sequence(
        charged(),
        pivot(),
        labelled(),
        pivot(),  # <- second
        command(create_label, name="label_again"),
    )
    finding = only_finding(saga(body), __file__, "second")
    assert (finding.rule, finding.fix) == ("pivot-misplaced", "keep the first pivot() only")


def test_a_pivot_that_nothing_follows() -> None:
    body = sequence(
        charged(),
        pivot(),  # <- last
    )
    assert only_finding(saga(body), __file__, "last").rule == "dead-block"


def test_a_pivot_before_everything_leaves_cancelled_unreached() -> None:
    body = sequence(
        pivot(),  # <- first
        charged(),
    )
    assert verify_sagas([saga(body)], Handlers.any()) == ()
    finding = only_finding(saga(body, cancelled=emit(cancelled)), __file__, "first")
    assert (finding.rule, finding.fix) == ("dead-block", "remove cancelled=, or place steps before the pivot")


def test_empty_blocks() -> None:
    body = sequence(
        charged(),
        parallel(),  # <- empty
    )
    finding = only_finding(saga(body), __file__, "empty")
    assert (finding.rule, finding.message, finding.fix) == (
        "dead-block",
        "an empty parallel does nothing",
        "give it blocks, or remove it",
    )
    nothing = sequence()  # <- nothing
    assert only_finding(saga(nothing), __file__, "nothing").path == "sequence"


def test_a_step_named_like_a_part_of_an_id() -> None:
    step = command(charge, undo=refund, name="undo")  # <- reserved
    finding = only_finding(saga(step), __file__, "reserved")
    assert (finding.rule, finding.fix) == ("reserved-name", "rename its builder, or give it another name=")


def test_two_sagas_of_one_name_and_version() -> None:
    one = saga(charged())
    two = Saga(  # <- twice
        name="planted", version=1, starts_on=one.starts_on, key=lambda order: order.order_id, body=labelled()
    )
    (finding,) = verify_sagas([one, two], Handlers.any())
    assert (finding.rule, finding.line, finding.fix) == (
        "saga-defined-twice",
        line_of(__file__, "twice"),
        "raise version=, or choose another name=",
    )


def test_a_sleep_is_not_kept_under_the_name_of_the_body() -> None:
    nap = sleep(timedelta(minutes=1), name="body")  # <- named body
    finding = only_finding(saga(sequence(command(charge, undo=refund), nap)), __file__, "named body")
    assert finding.rule == "reserved-name" and "keeps its own state" in finding.message
