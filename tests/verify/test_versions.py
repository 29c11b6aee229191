"""`changed-without-version`: a recorded version means what it meant, in this repository too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import app
from orchestrator.sagas import FINGERPRINTS_FILE, all_sagas
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from orchestrator.verify.versions import (
    RULE,
    FingerprintsError,
    check_versions,
    read_fingerprints,
    record,
    write_fingerprints,
)

CHANGED = replace(ORDER_FULFILMENT, deadline=timedelta(hours=3))


def test_the_sagas_of_this_repository_are_as_recorded() -> None:
    findings = check_versions(all_sagas(), read_fingerprints(FINGERPRINTS_FILE))
    assert [str(finding) for finding in findings] == []


def test_a_change_without_a_version_is_a_finding() -> None:
    recorded = record([ORDER_FULFILMENT], {}, replace=False)
    assert check_versions([ORDER_FULFILMENT], recorded) == ()
    (finding,) = check_versions([CHANGED], recorded)
    assert (finding.rule, finding.saga) == (RULE, "order-fulfilment")
    assert "version 1 of order-fulfilment means something else" in finding.message
    assert "version 2 beside it" in finding.fix
    assert finding.file == ORDER_FULFILMENT.location.file and finding.line == ORDER_FULFILMENT.location.line


def test_a_new_version_beside_the_old_one_is_recorded_and_then_no_finding() -> None:
    recorded = record([ORDER_FULFILMENT], {}, replace=False)
    both = [ORDER_FULFILMENT, replace(CHANGED, version=2)]
    (finding,) = check_versions(both, recorded)
    assert "version 2 of order-fulfilment is not recorded" in finding.message
    assert check_versions(both, record(both, recorded, replace=False)) == ()


def test_what_is_recorded_is_only_replaced_when_asked_for_and_what_is_gone_stays() -> None:
    gone = {"restock": {1: "ab"}, "order-fulfilment": {1: "cd"}}
    kept = record([CHANGED], gone, replace=False)
    assert kept["order-fulfilment"][1] == "cd" and kept["restock"] == {1: "ab"}
    assert record([CHANGED], gone, replace=True)["order-fulfilment"][1] != "cd"


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "fingerprints.json"
    with pytest.raises(FingerprintsError, match="write it with"):
        read_fingerprints(file)
    write_fingerprints(file, {"b": {10: "x", 9: "y"}, "a": {1: "z"}})
    assert read_fingerprints(file) == {"a": {1: "z"}, "b": {9: "y", 10: "x"}}
    assert list(file.read_text().split('"'))[1] == "a"
    file.write_text("[]")
    with pytest.raises(FingerprintsError, match="committed one"):
        read_fingerprints(file)


def test_an_orchestrator_with_a_changed_saga_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app, "all_sagas", lambda: (CHANGED,))
    with pytest.raises(app.Refused, match=RULE):
        app._verified_book()
    monkeypatch.setattr(app, "FINGERPRINTS_FILE", tmp_path / "none.json")
    with pytest.raises(app.Refused, match=r"none\.json"):
        app._verified_book()
