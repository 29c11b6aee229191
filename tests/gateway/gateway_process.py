"""The gateway as an OS process on a real stack, found by what it writes to its log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60.0


@dataclass
class GatewayProcess:
    process: subprocess.Popen[bytes]
    url: str
    operations: str
    log: Path


@contextmanager
def running_gateway(
    endpoints: Path, folder: Path, program: tuple[str, ...] = ("-m", "services.gateway"), **environment: str
) -> Iterator[GatewayProcess]:
    """Comes back when it serves. Killed at the end, if it runs still."""
    log = folder / f"gateway-{time.monotonic_ns()}.log"
    command = [sys.executable, *program, "--endpoints", str(endpoints), "--port", "0", "--metrics-port", "0"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERPOINT_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stderr=output, cwd=ROOT, env={**inherited, "PYTHONPATH": str(ROOT), **environment}
        )
    try:
        found = _serving(process, log)
        yield GatewayProcess(process, found["serving"], found["operations"], log)
    finally:
        process.kill()
        process.wait()


def _serving(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    give_up = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up:
        said = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        found = {one["event"]: one["url"] for one in said if "url" in one}
        if {"serving", "operations"} <= found.keys():
            return found
        assert process.poll() is None, f"the gateway ended: {log.read_text()}"
        time.sleep(0.05)
    raise AssertionError(f"the gateway does not serve: {log.read_text()}")
