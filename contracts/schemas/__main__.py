"""`python -m contracts.schemas --write | --check`. Exit code 0: done or up to date; 1: refused or out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.catalog import standard_catalog
from contracts.schemas.generate import schema_files
from contracts.schemas.store import FOLDER, Comparison, compare, write


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contracts.schemas", description="JSON Schemas of every message.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write them; an incompatible change is refused")
    action.add_argument("--check", action="store_true", help="say what is out of date")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: contracts/schemas")
    options = parser.parse_args(arguments)
    wanted = schema_files(standard_catalog())
    lines = _write(wanted, options.folder) if options.write else _check(compare(wanted, options.folder))
    sys.stdout.write("".join(f"{line}\n" for line in lines) or f"{len(wanted)} schemas are up to date\n")
    return 1 if lines else 0


def _write(wanted: dict[str, bytes], folder: Path) -> list[str]:
    comparison = write(wanted, folder)
    refused = [*_broken(comparison), *_orphaned(comparison)]
    if refused:
        refused.append("nothing was written")
    return refused


def _check(comparison: Comparison) -> list[str]:
    stale = [f"{name} is not up to date" for name in comparison.differing if name not in comparison.broken]
    missing = [f"{name} is missing" for name in comparison.missing]
    lines = [*_broken(comparison), *_orphaned(comparison), *missing, *stale]
    if missing or stale:
        lines.append("python -m contracts.schemas --write")
    return lines


def _broken(comparison: Comparison) -> list[str]:
    """The file is what was published: it stays, and the change goes into a new version of the type."""
    lines = []
    for name, changes in comparison.broken.items():
        lines.append(f"{name} would change incompatibly; leave that type as it is and add a new version beside it:")
        lines.extend(f"    {change}" for change in changes)
    return lines


def _orphaned(comparison: Comparison) -> list[str]:
    return [
        f"{name} has no message any more; to retire a type, delete its file by hand and say why in docs/decisions"
        for name in comparison.orphaned
    ]


if __name__ == "__main__":
    sys.exit(main())
