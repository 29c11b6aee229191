"""`depends-on-hash-seed`: functions are called under several hash seeds, and must make the same of the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from contracts.orders import OrderCancelled, OrderPlaced
from contracts.shipping import DispatchOrder
from orchestrator.language import (
    Block,
    Saga,
    choice,
    command,
    emit,
    for_each,
    observe,
    otherwise,
    repeat,
    sequence,
    sleep_until,
    when,
)
from orchestrator.sagas import all_sagas
from orchestrator.verify import seeds
from orchestrator.verify.finding import Finding
from orchestrator.verify.seeds import SeedsError, check_seeds
from tests.verify import seed_dependent as planted
from tests.verify.planted import line_of, saga
from tests.verify.steps import charge, refund

HOUR = timedelta(hours=1)


def made(*sagas: Saga) -> tuple[Finding, ...]:
    findings, unchecked = check_seeds(sagas, os.environ)
    assert unchecked == ()
    return findings


def sends(builder: Callable[..., Any]) -> Saga:
    return saga(command(builder, irreversible=True))


BUILDERS = (
    planted.iterates_over_a_set,
    planted.takes_any,
    planted.hashes,
    planted.dict_from_a_set,
    planted.in_a_helper,
    planted.raises_a_set,
    planted.innocent,
)


def test_each_planted_builder_is_found_where_it_is_defined() -> None:
    findings = made(*(sends(builder) for builder in BUILDERS))
    names = [builder.__name__ for builder in BUILDERS]
    assert sorted(names) == sorted(one.message.split(" ")[0] for one in findings)
    for one in findings:
        name = one.message.split(" ")[0]
        assert (one.file, one.line) == (planted.__file__, line_of(planted.__file__, name))
        assert one.rule == "depends-on-hash-seed" and "sorted(...)" in one.fix and one.path == f"{name}"
        assert " under another hash seed: " in one.message


def test_other_functions_of_a_saga_are_called_too() -> None:
    body = sequence(
        choice(when(planted.holds, command(charge, undo=refund)), otherwise(command(planted.sorts, irreversible=True))),
        sleep_until(planted.moment),
        for_each(planted.elements, command(planted.counts, irreversible=True), bound=9),
        repeat(emit(alert_free), until=planted.holds, bound=2),
        observe(OrderCancelled, key=lambda event: str(hash(event.order_id)), limit=HOUR),  # <- observed
    )
    whole = saga(body, cancelled=emit(planted.told), on_stuck=emit(planted.alert))
    found = {(one.line, one.file) for one in made(whole)}
    expected = {(line_of(planted.__file__, name), planted.__file__) for name in PLANTED_ROLES}
    assert found == expected | {(line_of(__file__, "observed"), __file__)}


PLANTED_ROLES = ("holds", "moment", "elements", "told", "alert")


def alert_free(order: OrderPlaced) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id="c", reason="operator")


def test_what_does_not_depend_on_hashes_is_no_finding() -> None:
    body: Block = sequence(command(planted.sorts, irreversible=True), command(planted.Nested.make, irreversible=True))
    assert made(saga(body)) == ()


def test_the_sagas_of_this_repository_depend_on_no_seed() -> None:
    assert made(*all_sagas()) == ()


def test_a_saga_outside_of_this_repository_is_found_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere_sagas.py"
    file.write_text(
        "from contracts.orders import OrderPlaced\n"
        "from contracts.shipping import DispatchOrder\n"
        "from orchestrator.language import Saga, command\n"
        "def ship(order: OrderPlaced) -> DispatchOrder:\n"
        "    return DispatchOrder(order_id=order.order_id, label_id=str(hash(order.order_id)))\n"
        "ELSEWHERE = Saga(name='elsewhere', version=1, starts_on=OrderPlaced, key=lambda order: order.order_id,\n"
        "                 body=command(ship, irreversible=True))\n"
    )
    spec = spec_from_file_location("elsewhere_sagas", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    (found,) = made(module.ELSEWHERE)
    assert (found.file, found.line) == (str(file), 4) and "elsewhere_sagas" not in sys.modules


def test_what_cannot_be_called_elsewhere_is_told() -> None:
    def inside(order: OrderPlaced) -> DispatchOrder:
        return DispatchOrder(order_id=order.order_id, label_id="x")

    findings, (one,) = check_seeds([sends(inside)], os.environ)
    assert findings == () and (one.name, one.why) == ("inside", "it is defined inside of another function")


def test_a_module_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    source = "from contracts.orders import OrderPlaced\nfrom contracts.shipping import DispatchOrder\n" + (
        "def gone(order: OrderPlaced) -> DispatchOrder:\n"
        "    return DispatchOrder(order_id=order.order_id, label_id='x')\n"
    )
    namespace: dict[str, Any] = {"__name__": "nowhere_at_all"}
    exec(compile(source, str(tmp_path / "gone.py"), "exec"), namespace)
    findings, (one,) = check_seeds([sends(namespace["gone"])], os.environ)
    assert findings == () and one.name == "gone" and "FileNotFoundError" in one.why


def test_a_child_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "SEEDS", ("no number",))
    with pytest.raises(SeedsError, match="PYTHONHASHSEED"):
        check_seeds([sends(planted.sorts)], os.environ)
