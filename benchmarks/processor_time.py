"""Processor time of other processes and of the whole machine, read from /proc (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LOAD = "load and observer"
OTHER = "kernel and other programs"
IDLE = "idle"


def seconds_used(pid: int) -> float:
    """Processor seconds (user and system, all threads) that a process has used; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def snapshot(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: seconds_used(pid) for name, pid in pids.items()}


def used_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: round(after[name] - before[name], 2) for name in before}


def machine_seconds() -> float:
    """Processor seconds that all cores together were not idle since the start: programs, kernel and interrupts."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
    with Path("/proc/stat").open() as stream:
        ticks = dict(zip(names, map(int, stream.readline().split()[1:]), strict=False))
    return sum(ticks[name] for name in names if name not in ("idle", "iowait")) / TICKS_PER_SECOND


class Window:
    """Where the processor time of a while went: the named processes, this one (load and observer), what else the
    machine did, and what it did not use."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self.used: dict[str, float] = {}
        """Processor seconds by part, once it is closed. Together: the cores times the elapsed time."""

    def open(self) -> None:
        self._before = snapshot(self._pids), time.process_time(), machine_seconds(), time.monotonic()

    def close(self) -> None:
        parts, own, machine, began = self._before
        elapsed = (time.monotonic() - began) * (os.cpu_count() or 1)
        busy = machine_seconds() - machine
        used = used_between(parts, snapshot(self._pids))
        used[LOAD] = round(time.process_time() - own, 2)
        # Ticks are counted by sampling: a difference of a few of them may come out below zero.
        used[OTHER] = round(max(0.0, busy - sum(used.values())), 2)
        used[IDLE] = round(max(0.0, elapsed - busy), 2)
        self.used = used
