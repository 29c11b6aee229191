"""What a provider of the sandbox has to tell: signed, until somebody takes it, and nothing is forgotten over a kill."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from deploy.local.sandbox import __main__ as program
from deploy.local.sandbox.app import make_app
from deploy.local.sandbox.providers import PROVIDERS
from deploy.local.sandbox.webhooks import Address, as_json, read_addresses
from services.gateway.signatures import PRESETS, SignatureRefused, check, key_of

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 24).decode()
SCHEME = PRESETS["standard-webhooks"]
SECONDS_MAX = 30.0


@dataclass
class Receiver:
    """Answers with the next of `statuses`, then 202. Keeps what came, as (headers, body)."""

    statuses: list[int] = field(default_factory=list)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.came.append((headers, body))
        return self.statuses.pop(0) if self.statuses else 202

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_port}/hook"
            yield self
            server.shutdown()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as found:
        yield found


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.02)


@contextmanager
def sandbox(folder: Path, receiver: Receiver | None) -> Iterator[TestClient]:
    addresses = {} if receiver is None else {"signature": Address(url=receiver.url, secret=SECRET)}
    with TestClient(make_app(folder, PROVIDERS, addresses)) as client:
        yield client


def ask(client: TestClient, document: str, owner: str = "ada@example.org") -> str:
    body = {"document_id": document, "owner_email": owner, "path": "a/b.pdf", "sha256": "a" * 64}
    answer = client.post("/signature/requests", json=body, headers={"Idempotency-Key": document})
    assert answer.status_code == 201, answer.text
    request_id: str = answer.json()["request_id"]
    return request_id


def seen(receiver: Receiver) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in receiver.came]


def test_a_signature_is_told_as_standard_webhooks_says(tmp_path: Path, receiver: Receiver) -> None:
    with sandbox(tmp_path, receiver) as client:
        request_id = ask(client, "d1")
        until(lambda: len(receiver.came) == 1)
        signed_at = client.get(f"/signature/requests/{request_id}").json()["signed_at"]

    headers, body = receiver.came[0]
    wanted = {"type": "signature.completed", "data": {"request_id": request_id, "signed_at": signed_at}}
    assert orjson.loads(body) == wanted
    now_ms = int(headers["webhook-timestamp"]) * 1000
    check(SCHEME, [key_of(SCHEME, SECRET)], headers, body, now_ms)
    with pytest.raises(SignatureRefused):
        check(SCHEME, [key_of(SCHEME, OTHER_SECRET)], headers, body, now_ms)


def test_it_is_told_until_somebody_takes_it_with_the_same_id(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [503, 500]
    with sandbox(tmp_path, receiver) as client:
        ask(client, "d1")
        until(lambda: len(receiver.came) == 3)

    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 1


def test_what_was_not_told_is_told_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    with sandbox(tmp_path, None) as client:
        request_id = ask(client, "d1")
    with sandbox(tmp_path, receiver):
        until(lambda: len(receiver.came) == 1)
    with sandbox(tmp_path, receiver) as client:
        ask(client, "d2")
        until(lambda: len(receiver.came) == 2)

    assert seen(receiver)[0]["data"]["request_id"] == request_id


def test_a_repeated_request_is_told_once(tmp_path: Path, receiver: Receiver) -> None:
    with sandbox(tmp_path, receiver) as client:
        assert ask(client, "d1") == ask(client, "d1")
        ask(client, "d2")
        until(lambda: len(receiver.came) == 2)

        assert [effect["reference"] for effect in client.get("/ledger").json()["effects"]] == ["d1", "d2"]


def test_an_owner_who_never_signs_does_so_when_asked(tmp_path: Path, receiver: Receiver) -> None:
    with sandbox(tmp_path, receiver) as client:
        request_id = ask(client, "d1", "never-signs@example.org")
        ask(client, "d2")
        until(lambda: len(receiver.came) == 1)
        assert client.get(f"/signature/requests/{request_id}").json()["status"] == "open"
        for key in ("s1", "s2"):
            answer = client.post(
                "/signature/signings", json={"request_id": request_id}, headers={"Idempotency-Key": key}
            )
            assert answer.status_code == 201
        until(lambda: len(receiver.came) == 2)

    assert seen(receiver)[1]["data"]["request_id"] == request_id


def test_some_are_told_twice(tmp_path: Path, receiver: Receiver) -> None:
    with sandbox(tmp_path, receiver) as client:
        ask(client, "d1", "told-twice@example.org")
        until(lambda: len(receiver.came) == 2)

    assert receiver.came[0][1] == receiver.came[1][1]
    assert receiver.came[0][0]["webhook-id"] == receiver.came[1][0]["webhook-id"]


def test_addresses_are_read_from_a_file_and_a_wrong_one_is_a_sentence(tmp_path: Path) -> None:
    addresses = {"signature": Address(url="http://127.0.0.1:1/hook", secret=SECRET)}
    (tmp_path / "right.json").write_text(as_json(addresses))
    (tmp_path / "wrong.json").write_text('{"signature": {"url": 1}}')
    assert read_addresses(tmp_path / "right.json") == addresses

    words = ["--port", "1", "--data", str(tmp_path), "--webhooks", str(tmp_path / "wrong.json")]
    result = CliRunner().invoke(program.app, words)
    assert result.exit_code == 1
    assert "is no file of webhook addresses" in result.output
