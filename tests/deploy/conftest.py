"""Fixtures of the local stack: a sandbox in a process of its own, and one real infrastructure for the session."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local import process
from deploy.local.ports import assigned
from deploy.local.probes import http_probe
from deploy.local.site import INFRASTRUCTURE
from deploy.local.stack import Stack

SANDBOX_SECONDS = 20


@dataclass
class SandboxProcess:
    """A sandbox that a test can crash and start again on the same books."""

    data: Path
    port: int
    identity: process.Identity | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = (sys.executable, "-m", "deploy.local.sandbox", "--port", str(self.port), "--data", str(self.data))
        self.identity = process.spawn(command, self.data / "log")
        give_up = time.monotonic() + SANDBOX_SECONDS
        while http_probe("127.0.0.1", self.port)() is not None:
            assert process.alive(self.identity), process.tail(self.data / "log")
            assert time.monotonic() < give_up, "the sandbox does not come up"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.identity is not None
        process.kill(self.identity)

    def stop(self, seconds: float) -> bool:
        assert self.identity is not None
        return process.stop(self.identity, seconds)

    def log(self) -> str:
        return process.tail(self.data / "log")


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def choose() -> int:
        with assigned({}, {}, {}) as ports:
            return ports["sandbox"]

    return choose


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SandboxProcess]:
    started = SandboxProcess(tmp_path_factory.mktemp("sandbox"), free_port())
    started.start()
    yield started
    started.kill()


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, timeout=10) as client:
        yield client
        client.delete("/faults")


@pytest.fixture(scope="session")
def infrastructure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("infrastructure"))
    stack.up(only=INFRASTRUCTURE)
    yield stack
    stack.down()
