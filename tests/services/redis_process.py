"""A private Redis: a unix socket in a short temporary folder, no port, everything appended to its file."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.redis_server import find_redis_server

START_SECONDS_MAX = 20.0


@contextmanager
def redis_folder() -> Iterator[Path]:
    """Not pytest's tmp_path: a unix socket's path has about 100 characters at most."""
    with tempfile.TemporaryDirectory(prefix="stock-") as folder:
        yield Path(folder)


def url_in(folder: Path) -> str:
    return f"unix://{folder / 'redis.sock'}"


@contextmanager
def running_redis(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Comes back when it answers; started again in the same folder it has what it had."""
    socket = folder / "redis.sock"
    socket.unlink(missing_ok=True)
    where = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    command = [find_redis_server(), *where, "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_SECONDS_MAX
        while not socket.exists():
            assert process.poll() is None, "redis-server ended at once"
            assert time.monotonic() < give_up, "redis-server did not open its socket"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()
