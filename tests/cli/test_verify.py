"""`verify`: what the command line adds to the rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.orders import OrderPlaced
from contracts.shipping import DispatchOrder
from orchestrator.cli import verify as command_of_verify
from orchestrator.language import command
from orchestrator.verify.seeds import SeedsError
from tests.verify import seed_dependent
from tests.verify.planted import saga


def test_a_builder_that_depends_on_hashes_is_a_finding(counterpoint: Any) -> None:
    planted = counterpoint.changed(sagas=(saga(command(seed_dependent.innocent, irreversible=True)),))
    result = planted("verify", "--json")
    found = [one for one in json.loads(result.stdout) if one["rule"] == "depends-on-hash-seed"]
    assert result.exit_code == 1 and len(found) == 1
    assert found[0]["file"] == seed_dependent.__file__ and found[0]["message"].startswith(
        "innocent makes something else"
    )


def test_what_was_not_called_is_a_note(counterpoint: Any) -> None:
    def inside(order: OrderPlaced) -> DispatchOrder:
        return DispatchOrder(order_id=order.order_id, label_id="x")

    planted = counterpoint.changed(sagas=(saga(command(inside, irreversible=True)),))
    result = planted("verify")
    assert result.exit_code == 0, result.stdout
    assert "inside was not called under other hash seeds: it is defined inside of another function" in result.stderr


def test_children_that_fail_are_told(counterpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise SeedsError("the functions could not be called: no room")

    monkeypatch.setattr(command_of_verify, "check_seeds", fails)
    result = counterpoint("verify")
    assert result.exit_code == 1 and "the functions could not be called: no room" in result.stderr
