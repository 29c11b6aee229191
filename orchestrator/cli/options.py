"""Options that many commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

EndpointsFile = Annotated[
    Path | None,
    typer.Option(
        "--endpoints",
        metavar="FILE",
        help="The stack's endpoints file. Default: $COUNTERPOINT_ENDPOINTS, then .local/endpoints.json.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output, and nothing else there.")]
ProcessId = Annotated[str, typer.Argument(metavar="PROCESS", help="For example order-fulfilment:28023")]

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"^(\d{1,9})(ms|s|m|h|d)$")


def parse_duration(text: str) -> int:
    """`90s`, `5m`, `2h`, `1d` as milliseconds. Raises typer.BadParameter."""
    found = _DURATION.match(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a time span; write 90s, 5m, 2h or 1d")
    return int(found[1]) * _UNITS_MS[found[2]]
