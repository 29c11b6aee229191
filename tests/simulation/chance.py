"""All chance of a run: one stream for each purpose, so that what is dropped from one does not shift the others."""

from __future__ import annotations

from random import Random


class Chance:
    """Everything here is a function of the seed alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.order = self.stream("order")
        self.latency = self.stream("latency")

    def stream(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    def latency_s(self) -> float:
        """Of one crossing of the network: mostly short, sometimes not."""
        drawn = self.latency.random()
        if drawn < 0.4:
            return 0.0
        if drawn < 0.97:
            return 0.0005 + 0.004 * self.latency.random()
        return 0.4 * self.latency.random()
