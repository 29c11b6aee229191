"""Limits that contradict each other; and the exploration of sagas that have some."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.orders import OrderPlaced
from orchestrator.language import Concurrency, Limit, Rate, Saga, command, parallel, sequence
from orchestrator.verify import Handlers, verify_sagas
from orchestrator.verify.exploration import explore
from tests.verify.planted import line_of, only_finding, saga
from tests.verify.steps import charge, create_label, refund, release, reserve, void_label


def test_one_name_with_two_numbers() -> None:
    body = sequence(
        command(reserve, undo=release, limit=Rate(10, name="provider")),
        command(charge, undo=refund, limit=Rate(20, name="provider")),  # <- other number
    )
    finding = only_finding(saga(body), __file__, "other number")
    assert (finding.rule, finding.fix) == ("limit-conflict", "give both the same numbers, or one another name=")
    assert "at most 20 per second (provider) here, and at most 10 per second (provider) at" in finding.message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Rate(60, per="minute"), Rate(60, per=timedelta(minutes=1))),
        (Rate(5), Rate(5, burst=5)),
        (Concurrency(5), Rate(9)),
    ],
)
def test_the_same_numbers_said_otherwise_and_another_kind_are_no_conflict(one: Limit, other: Limit) -> None:
    named: Any = [type(limit)(**{**_fields(limit), "name": "provider"}) for limit in (one, other)]
    body = parallel(command(reserve, undo=release, limit=named[0]), command(charge, undo=refund, limit=named[1]))
    assert verify_sagas([saga(body)], Handlers.any()) == ()


def _fields(limit: Limit) -> dict[str, Any]:
    return {name: getattr(limit, name) for name in limit.__slots__}


def test_another_burst_is_another_number() -> None:
    body = sequence(
        command(reserve, undo=release, limit=Rate(10, name="provider")),
        command(charge, undo=refund, limit=Rate(10, name="provider", burst=1)),  # <- burst
    )
    only_finding(saga(body), __file__, "burst")


def test_limits_of_two_sagas_and_of_two_versions_of_one() -> None:
    def of(name: str, version: int, count: int) -> Saga:
        step = command(charge, undo=refund, limit=Concurrency(count, name="provider"))
        return Saga(name=name, version=version, starts_on=OrderPlaced, key=lambda order: order.order_id, body=step)

    (finding,) = verify_sagas([of("one", 1, 5), of("other", 1, 6)], Handlers.any())
    assert (finding.saga, finding.rule) == ("other", "limit-conflict")
    assert verify_sagas([of("one", 1, 5), of("one", 2, 6), of("other", 1, 6)], Handlers.any()) == ()


def test_one_limit_twice_in_one_place() -> None:
    step = command(charge, undo=refund, limit=(Rate(10), Rate(10)))  # <- twice
    assert "two limits of the kind rate" in only_finding(saga(step), __file__, "twice").message


def test_a_place_of_the_whole_process_is_no_place_of_its_step() -> None:
    step = command(charge, undo=refund, limit=Concurrency(3, name="all"))  # <- nested
    (finding,) = verify_sagas([saga(step, limit=Concurrency(3, name="all"))], Handlers.any())
    assert (finding.line, finding.rule) == (line_of(__file__, "nested"), "limit-conflict")
    assert "would wait for one of them" in finding.message


def test_no_saga_is_called_like_the_limiters() -> None:
    step = command(charge, undo=refund)
    named = Saga(name="limiter", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=step)
    (finding,) = verify_sagas([named], Handlers.any())
    assert finding.rule == "reserved-name" and "limiters" in finding.message


@pytest.mark.parametrize("limit", [None, Concurrency(2), Rate(3, per="minute"), (Concurrency(2), Rate(3))])
def test_what_is_limited_is_explored_to_its_end(limit: Limit | tuple[Limit, ...] | None) -> None:
    body = sequence(
        parallel(command(reserve, undo=release, limit=limit), command(charge, undo=refund)),
        command(create_label, undo=void_label, limit=limit),
    )
    for whole in (None, Concurrency(1, name="whole")):
        report = explore(saga(body, limit=whole))
        assert report.problems == [] and report.decisions > 500


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rate(0), "count must be 1"),
        (lambda: Rate(1, per="fortnight"), "per must be second"),  # type: ignore[arg-type]
        (lambda: Rate(1, per=timedelta(0)), "per must be a millisecond"),
        (lambda: Rate(1, per=timedelta(days=60)), "per must be a millisecond"),
        (lambda: Rate(5, burst=6), "burst must be 1 to count"),
        (lambda: Rate(5, burst=0), "burst must be 1 to count"),
        (lambda: Concurrency(0), "count must be 1"),
        (lambda: Concurrency(10**6), "count must be 1"),
        (lambda: Concurrency(1, name="Not a name"), "the name of a limit"),
        (lambda: command(charge, limit=tuple(Rate(n, name=f"n{n}") for n in range(1, 6))), "at most 4 limits"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
