"""The sagas of this repository may run."""

from __future__ import annotations

from orchestrator.engine.book import SagaBook
from orchestrator.sagas import all_sagas
from orchestrator.verify import read_handlers, verify_sagas


def test_every_saga_is_without_findings() -> None:
    assert [str(finding) for finding in verify_sagas(all_sagas(), read_handlers())] == []


def test_what_verify_accepts_the_engine_compiles() -> None:
    assert len(SagaBook(all_sagas()).plans()) == len(all_sagas())
