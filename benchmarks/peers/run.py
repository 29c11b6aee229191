"""Runs the order flow on each peer and reports what came out, and with which settings."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.install import Installed, PeerMissing, install
from benchmarks.peers.servers import postgres, restate
from benchmarks.processor_time import snapshot, used_between

HERE = Path(__file__).parent
SECONDS_MAX = 900.0
LIGHT_RATE = 20.0
LIGHT_ORDERS = 200
SETTINGS = {
    "dbos": "DBOS 3.4.0, PostgreSQL from Debian with its defaults (fsync and synchronous_commit on), "
    "workflows started in the program that runs them",
    "restate": "Restate 1.7.12 with its defaults (one node, write-ahead log), steps inside of one handler, hypercorn",
}


def run_peers(folder: Path, orders: int) -> dict[str, dict[str, Any]]:
    """One entry a peer; one that cannot run here has only `missing`, the reason."""
    found: dict[str, dict[str, Any]] = {}
    try:
        installed = install(folder)
    except PeerMissing as missing:
        return {name: {"missing": str(missing)} for name in SETTINGS}
    for name, measure in (("dbos", _dbos), ("restate", _restate)):
        try:
            found[name] = {"settings": SETTINGS[name], **measure(installed, folder, orders)}
        except PeerMissing as missing:
            found[name] = {"missing": str(missing)}
    return found


def _dbos(installed: Installed, folder: Path, orders: int) -> dict[str, Any]:
    with postgres() as (url, _):
        return _program(installed, "dbos_program.py", (url,), orders)


def _restate(installed: Installed, folder: Path, orders: int) -> dict[str, Any]:
    with restate(installed, folder / "restate-data") as (ingress, pids):
        before = snapshot(pids)
        result = _program(installed, "restate_program.py", ("load", ingress), orders)
        return {**result, "processor_seconds": used_between(before, snapshot(pids))}


def _program(installed: Installed, script: str, arguments: tuple[str, ...], orders: int) -> dict[str, Any]:
    """Raises subprocess.CalledProcessError or TimeoutExpired."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        command = (str(installed.python), str(HERE / script), *arguments, result.name)
        counts = (str(orders), str(LIGHT_ORDERS), str(LIGHT_RATE))
        subprocess.run((*command, *counts), check=True, timeout=SECONDS_MAX)
        found: dict[str, Any] = json.loads(Path(result.name).read_text())
        return found
