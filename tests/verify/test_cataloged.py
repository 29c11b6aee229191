"""`message-not-cataloged`: what nobody knows would never reach its saga."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.catalog import Catalog, standard_catalog
from contracts.message import Event
from orchestrator import app
from orchestrator.language import sequence, wait_for
from orchestrator.sagas import all_sagas
from orchestrator.testkit.lab import lab_saga, step
from orchestrator.verify.cataloged import RULE, check_catalog


class Surprised(Event, type="surprises.surprised.v1"):
    job_id: str


def test_the_sagas_of_this_repository_speak_in_known_messages() -> None:
    assert check_catalog(all_sagas(), standard_catalog()) == ()


def test_one_finding_a_module_names_everything_that_is_missing() -> None:
    saga = lab_saga(sequence(step("a"), wait_for(Surprised, key=lambda event: event.job_id, limit=timedelta(days=1))))
    first, second = check_catalog([saga], standard_catalog())
    assert (first.rule, first.saga, first.file, first.line) == (RULE, saga.name, saga.location.file, saga.location.line)
    assert first.message.startswith("orchestrator.testkit.lab is not in the catalog of contracts, so nobody knows lab.")
    assert second.message == f"{__name__} is not in the catalog of contracts, so nobody knows surprises.surprised.v1"
    assert "CONTEXTS of contracts/catalog.py" in first.fix


def test_every_message_of_the_order_saga_is_asked_about() -> None:
    (finding,) = {one.rule for one in check_catalog(all_sagas(), Catalog(()))}
    assert finding == RULE
    named = " ".join(one.message for one in check_catalog(all_sagas(), Catalog(())))
    for part in (
        "orders.placed.v1",
        "payment.charge.v1",
        "payment.declined.v1",
        "payment.refunded.v1",
        "orders.cancelled",
    ):
        assert part in named


def test_the_orchestrator_does_not_start_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "all_sagas", lambda: (lab_saga(step("a")),))
    with pytest.raises(app.Refused, match=RULE):
        app._verified_book()
