"""`python -m benchmarks.peers`: the peers alone. `make bench` runs them beside the product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.peers.run import run_peers


def main(
    orders: Annotated[int, typer.Option(min=50, help="Orders of the throughput run.")] = 2_000,
    data: Annotated[Path, typer.Option(help="Folder for what the peers need.")] = Path(".local/peers"),
) -> None:
    """Measure the order flow on the peers; prints JSON."""
    Console().print_json(json.dumps(run_peers(data, orders)))


if __name__ == "__main__":
    typer.run(main)
