"""`python -m orchestrator` as an OS process, where something is missing: it waits, or says in one sentence what is
wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import assigned

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
NOWHERE = {
    "kafka": "127.0.0.1:1",
    "redis": {"orchestrator": "redis://127.0.0.1:1", "services": "redis://127.0.0.1:1"},
}


@contextmanager
def orchestrator(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    endpoints = folder / "endpoints.json"
    endpoints.write_text(json.dumps(NOWHERE))
    with assigned({}, {}, {}) as ports:
        port = ports["sandbox"]
        command = [sys.executable, "-m", "orchestrator", "--endpoints", str(endpoints), "--metrics-port", str(port)]
        process = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE)
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def test_without_kafka_it_waits_says_so_and_ends_when_asked(tmp_path: Path) -> None:
    with orchestrator(tmp_path) as (process, url):
        give_up = time.monotonic() + LIMIT_S
        while True:
            assert process.poll() is None and time.monotonic() < give_up
            try:
                answer = httpx.get(f"{url}/readyz")
            except httpx.TransportError:
                continue
            if "kafka is away" in answer.text:
                break
            time.sleep(0.05)
        assert answer.status_code == 503
        assert httpx.get(f"{url}/healthz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("roles", ["router,typist", ""])
def test_an_unknown_role_is_a_usage_error(tmp_path: Path, roles: str) -> None:
    with orchestrator(tmp_path, "--roles", roles) as (process, _):
        assert process.wait(LIMIT_S) == 2
