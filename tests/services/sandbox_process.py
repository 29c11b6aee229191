"""The real sandbox as a subprocess, and what the tests ask it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS_MAX = 30.0


@dataclass(frozen=True)
class Sandbox:
    url: str

    def ledger(self, reference: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/ledger", params={"reference": reference}, trust_env=False)
        effects: list[dict[str, Any]] = answer.json()["effects"]
        return effects

    def kinds(self, reference: str) -> list[str]:
        return [effect["kind"] for effect in self.ledger(reference)]

    def misbehave(self, provider: str, **fault: object) -> None:
        body = {"provider": provider, **fault}
        httpx.post(f"{self.url}/faults", json=body, trust_env=False).raise_for_status()

    def behave(self) -> None:
        httpx.delete(f"{self.url}/faults", trust_env=False).raise_for_status()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_sandbox(folder: Path) -> Iterator[Sandbox]:
    port = free_port()
    command = [sys.executable, "-m", "deploy.local.sandbox", "--port", str(port), "--data", str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        sandbox = Sandbox(f"http://127.0.0.1:{port}")
        _wait_for(sandbox, process)
        yield sandbox
    finally:
        process.terminate()
        process.wait()


def _wait_for(sandbox: Sandbox, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_SECONDS_MAX
    while True:
        assert process.poll() is None, "the sandbox ended at once"
        assert time.monotonic() < give_up, "the sandbox did not answer"
        try:
            httpx.get(f"{sandbox.url}/healthz", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
