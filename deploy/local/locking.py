"""A lock between processes, held on a file; the kernel frees it when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import StackError

POLL_SECONDS = 0.1


@contextlib.contextmanager
def held(path: Path, patience_seconds: float, who: str) -> Iterator[None]:
    """Hold the lock on `path`. Raises `StackError`, naming `who`, if it is not free within `patience_seconds`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        give_up = time.monotonic() + patience_seconds
        while not _take(file.fileno()):
            if time.monotonic() > give_up:
                raise StackError(f"Waited {patience_seconds:.0f} s for {path}: {who}.")
            time.sleep(POLL_SECONDS)
        yield


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
