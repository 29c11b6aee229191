"""The composition root of `counterpoint`, and the only reader of its environment."""

from __future__ import annotations

import getpass
import logging
import os
import sys
import time
from pathlib import Path
from uuid import uuid4

from contracts.catalog import standard_catalog
from operations.logs import configure_logs
from orchestrator.cli.app import build_app
from orchestrator.cli.connections_real import RealConnections
from orchestrator.cli.surroundings import Surroundings
from orchestrator.sagas import FINGERPRINTS_FILE, all_sagas


def main() -> None:
    """Run the command line."""
    configure_logs("counterpoint", "WARNING")  # standard output is for what was asked
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a failing connection is told in one sentence
    around = Surroundings(
        environment=os.environ,
        folder=Path.cwd(),
        operator=_user(),
        interactive=sys.stdin.isatty(),
        now_ms=lambda: time.time_ns() // 1_000_000,
        new_id=lambda: str(uuid4()),
        connections=RealConnections(),
        sagas=all_sagas(),
        catalog=standard_catalog(),
        fingerprints=FINGERPRINTS_FILE,
    )
    build_app()(obj=around, prog_name="counterpoint")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user entry
        return f"uid-{os.getuid()}"


if __name__ == "__main__":
    main()
