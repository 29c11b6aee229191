"""Slack, the CRM, the accounting system and the e-signature provider of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deploy.local.sandbox.app import make_app
from deploy.local.sandbox.providers import PROVIDERS

LEAD = {"lead_id": "l1", "name": "Ada", "email": "ada@example.org", "message": "Hello"}
DEAL = {"deal_id": "d1", "customer_id": "c1", "amount_cents": 100, "currency": "EUR"}
DOCUMENT = {"document_id": "doc1", "owner_email": "never-signs@example.org", "path": "a/b.pdf", "sha256": "a" * 64}
ALERT = {"text": "New lead", "blocks": [{"type": "header", "block_id": "l1"}]}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(make_app(tmp_path, PROVIDERS)) as found:
        yield found


def post(client: TestClient, path: str, body: dict[str, Any], key: str = "k1") -> Any:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


def ledger(client: TestClient) -> list[tuple[str, str, str]]:
    effects = client.get("/ledger").json()["effects"]
    return [(effect["provider"], effect["kind"], effect["reference"]) for effect in effects]


@pytest.mark.parametrize(
    ("path", "body", "made", "line"),
    [
        ("/crm/records", LEAD, "record_id", ("crm", "record", "l1")),
        ("/accounting/invoices", DEAL, "invoice_id", ("accounting", "invoice", "d1")),
        ("/signature/requests", DOCUMENT, "request_id", ("signature", "signature-request", "doc1")),
    ],
)
def test_one_key_is_one_effect_that_can_be_read_back(
    client: TestClient, path: str, body: dict[str, Any], made: str, line: tuple[str, str, str]
) -> None:
    first, again = post(client, path, body), post(client, path, body)
    other = post(client, path, body, key="k2")
    assert first.status_code == other.status_code == 201
    assert first.json() == again.json() and again.headers["Idempotency-Replayed"] == "true"
    assert first.json()[made] != other.json()[made]
    assert ledger(client) == [line, line]

    found = client.get(f"{path}/{first.json()[made]}").json()
    assert found["idempotency_key"] == "k1"
    assert body.items() <= found.items()
    by = next(iter(body))
    (listed,) = client.get(path, params={by: body[by]}).json().values()
    assert [row["idempotency_key"] for row in listed] == ["k1", "k2"]
    assert client.get(f"{path}/none").status_code == 404
    assert client.get(path).status_code == 400


@pytest.mark.parametrize(("path", "body"), [("/crm/records", LEAD), ("/accounting/invoices", DEAL)])
def test_a_key_is_for_one_content_and_is_needed(client: TestClient, path: str, body: dict[str, Any]) -> None:
    post(client, path, body)
    changed = {**body, next(iter(body)): "x9"}
    assert post(client, path, changed).json()["code"] == "idempotency_key_reused"
    assert client.post(path, json=body).json()["code"] == "idempotency_key_missing"
    assert len(ledger(client)) == 1


def test_slack_answers_ok_as_text_and_posts_what_comes_twice_twice(client: TestClient) -> None:
    for _ in range(2):
        answer = post(client, "/slack/webhook", ALERT)
        assert (answer.status_code, answer.text) == (200, "ok")
        assert answer.headers["content-type"].startswith("text/plain")
    assert ledger(client) == [("slack", "alert", "l1")] * 2


def test_slack_needs_no_key_and_some_content(client: TestClient) -> None:
    assert client.post("/slack/webhook", json={"text": "Hello"}).status_code == 200
    assert client.post("/slack/webhook", json={}).json()["code"] == "no_text"
    assert client.post("/slack/webhook", json={"blocks": "no"}).status_code == 400
    assert ledger(client) == [("slack", "alert", "unknown")]


def test_slack_misbehaves_as_the_others(client: TestClient) -> None:
    client.post("/faults", json={"provider": "slack", "error_rate": 1.0})
    assert post(client, "/slack/webhook", ALERT).status_code == 503
    client.delete("/faults")
    assert ledger(client) == []


def test_an_open_request_is_signed_when_its_owner_does(client: TestClient) -> None:
    request_id = post(client, "/signature/requests", DOCUMENT).json()["request_id"]
    assert client.get(f"/signature/requests/{request_id}").json()["status"] == "open"

    signed = post(client, "/signature/signings", {"request_id": request_id}, key="s1").json()
    again = post(client, "/signature/signings", {"request_id": request_id}, key="s2").json()

    assert signed == again
    found = client.get(f"/signature/requests/{request_id}").json()
    assert (found["status"], found["signed_at"]) == ("signed", signed["signed_at"])
    assert post(client, "/signature/signings", {"request_id": "sig_none"}, key="s3").status_code == 404
