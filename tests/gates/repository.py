"""What the gates look at: the files of this checkout that are, or are about to be, under version control."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@lru_cache(maxsize=1)
def tracked_files() -> tuple[str, ...]:
    """Paths from the root; new files that git does not ignore are included, deleted ones are not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(sorted(name for name in set(listed.stdout.split("\0")) if name and (ROOT / name).is_file()))


def python_files() -> tuple[str, ...]:
    return tuple(name for name in tracked_files() if name.endswith(".py"))
