"""What a report says about the machine it was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe_machine(python: str) -> str:
    """For example `2 cores, 8 GB, Linux x86_64, Python 3.11.2`. No names: a report is published."""
    cores = len(os.sched_getaffinity(0))
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            gigabytes = round(int(line.split()[1]) / 1024 / 1024)
            return f"{cores} cores, {gigabytes} GB, {platform.system()} {platform.machine()}, Python {python}"
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {python}"
