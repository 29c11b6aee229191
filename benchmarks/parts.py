"""What all parts of the scale benchmark share: how a part that runs alone says its result, and keeps it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPORT = Path(".local/bench/report.json")
DATA = Path(".local/bench-scale")
SECONDS_MAX = 1800.0


def finish(name: str, result: dict[str, Any], as_json: bool, report: Path | None, lines: Sequence[str]) -> None:
    """Say the result (as JSON, or as lines), and put it into the report, in the place of an earlier one."""
    if report is not None:
        known: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
        known.setdefault("scale", {})[name] = result
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(known, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if as_json else "\n".join(lines) + "\n")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest, in the values' unit. Raises IndexError if there is none."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "p50": ordered[min(last, len(ordered) // 2)],
        "p99": ordered[min(last, int(len(ordered) * 0.99))],
        "max": ordered[last],
    }


def us_per_step(used: dict[str, float], steps: int) -> dict[str, int]:
    """Processor seconds by program -> microseconds of one step."""
    return {name: round(seconds / steps * 1e6) for name, seconds in used.items()}
