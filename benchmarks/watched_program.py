"""The orchestrator as it is, noting how full its queues ever were: `python -m benchmarks.watched_program --peaks FILE`
takes what `python -m orchestrator` takes beside, and smaller limits, so that a small load can reach them.

When it has ended, FILE holds `{queue: {"peak": n, "limit": n}}`.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from contracts.topics import SHARDS
from orchestrator import app
from orchestrator.runtime import subscription_kafka
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings


class Peaks:
    """The most that was ever seen of each queue, and what it must not exceed."""

    def __init__(self, settings: EngineSettings, poll_records: int) -> None:
        unstored = settings.unstored_inputs_max + poll_records  # the engine looks before it polls
        cached = settings.cache_processes * SHARDS + unstored + poll_records  # what is unstored stays in the cache
        self.limits = {"unstored_inputs": unstored, "cached_processes": cached}
        self.peaks = dict.fromkeys(self.limits, 0)

    def note(self, name: str, size: int) -> None:
        self.peaks[name] = max(self.peaks[name], size)

    def save(self, file: Path) -> None:
        found = {name: {"peak": peak, "limit": self.limits[name]} for name, peak in self.peaks.items()}
        file.write_text(json.dumps(found) + "\n")


class WatchedLoop(EngineLoop):
    """Looks at its shards after every batch."""

    peaks: Peaks

    async def step(self, timeout_ms: int) -> int:
        folded = await super().step(timeout_ms)
        shards = self.ownership.active.values()
        self.peaks.note("unstored_inputs", sum(shard.unstored_inputs for shard in shards))
        self.peaks.note("cached_processes", sum(len(shard._cache) for shard in shards))
        return folded


def main() -> None:
    defaults = EngineSettings("")
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--peaks", type=Path, required=True)
    parser.add_argument("--cache-processes", type=int, default=defaults.cache_processes)
    parser.add_argument("--unstored-inputs", type=int, default=defaults.unstored_inputs_max)
    parser.add_argument("--poll-records", type=int, default=subscription_kafka.POLL_RECORDS_MAX)
    own, others = parser.parse_known_args()
    limits = {"cache_processes": own.cache_processes, "unstored_inputs_max": own.unstored_inputs}
    subscription_kafka.POLL_RECORDS_MAX = own.poll_records
    replaced: Any = app
    replaced.EngineSettings = partial(EngineSettings, **limits)
    replaced.EngineLoop = WatchedLoop
    WatchedLoop.peaks = Peaks(EngineSettings("", **limits), own.poll_records)
    sys.argv = [sys.argv[0], *others]
    try:
        app.run()
    finally:
        WatchedLoop.peaks.save(own.peaks)


if __name__ == "__main__":
    main()
