"""What the sandbox takes and gives at most."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from deploy.local.sandbox import app as module
from deploy.local.sandbox import books
from deploy.local.sandbox.app import make_app
from deploy.local.sandbox.providers import PROVIDERS
from deploy.local.sandbox.writer import Writer


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(tmp_path, PROVIDERS)) as found:
        yield found


def charge(client: TestClient, order: str) -> int:
    body = {"order_id": order, "amount_cents": 1, "currency": "EUR", "payment_method": "pm_card"}
    return client.post("/payment/charges", json=body, headers={"Idempotency-Key": order}).status_code


def test_a_ledger_that_is_too_long_is_refused_and_not_cut(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "LEDGER_MAX", 2)
    for order in ("o1", "o2"):
        assert charge(client, order) < 300
    assert len(client.get("/ledger").json()["effects"]) == 2
    assert charge(client, "o3") < 300
    refused = client.get("/ledger")
    assert (refused.status_code, refused.json()["code"]) == (413, "too_many")
    assert len(client.get("/ledger", params={"reference": "o3"}).json()["effects"]) == 1


def test_a_body_that_is_too_large_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_BYTES_MAX", 100)
    assert charge(client, "x" * 100) == 413
    assert client.get("/ledger").json()["effects"] == []


def test_too_many_that_wait_for_the_books_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(self: Writer, work: object) -> None:
        raise queue.Full

    monkeypatch.setattr(Writer, "do", full)
    assert charge(client, "o1") == 503
