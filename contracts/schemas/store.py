"""The committed files: what is out of date, and writing them only where no published type breaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.schemas.compatibility import Incompatibility, incompatibilities

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Comparison:
    """The files on disk beside what the models say. Names are file names."""

    missing: tuple[str, ...]
    differing: tuple[str, ...]
    orphaned: tuple[str, ...]
    """Types that no model has any more: retired by hand, with a decision page."""
    broken: Mapping[str, tuple[Incompatibility, ...]]

    @property
    def up_to_date(self) -> bool:
        return not (self.missing or self.differing or self.orphaned)


def compare(wanted: Mapping[str, bytes], folder: Path = FOLDER) -> Comparison:
    """Raises ValueError if a file is not JSON."""
    found = {file.name: file.read_bytes() for file in sorted(folder.glob("*.json"))}
    differing = tuple(name for name in wanted if name in found and found[name] != wanted[name])
    broken = {name: incompatibilities(json.loads(found[name]), json.loads(wanted[name])) for name in differing}
    return Comparison(
        missing=tuple(name for name in wanted if name not in found),
        differing=differing,
        orphaned=tuple(name for name in found if name not in wanted),
        broken={name: changes for name, changes in broken.items() if changes},
    )


def write(wanted: Mapping[str, bytes], folder: Path = FOLDER) -> Comparison:
    """All files or none: nothing is written if a type would change incompatibly, or is gone."""
    comparison = compare(wanted, folder)
    if not comparison.broken and not comparison.orphaned:
        for name in (*comparison.missing, *comparison.differing):
            (folder / name).write_bytes(wanted[name])
    return comparison
