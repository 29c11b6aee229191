"""How messages ended and how long they took: counted in plain numbers, told when somebody looks.

A counter and a histogram of the client library take 2 us for each message, most of it for locks and for the walk
through the buckets; here one thread writes, and the thread that reads sees each number whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Durations:
    """Of one type at one service, in seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and how many are at most that, as the exposition format has them."""
        found, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
        return found


class Ends(Collector):
    """Of all services of an OS process."""

    def __init__(self, prefix: str, bounds: tuple[float, ...]) -> None:
        self._prefix = prefix
        self._bounds = bounds
        self._results: dict[tuple[str, str, str], int] = {}
        self._durations: dict[tuple[str, str], Durations] = {}

    def durations(self, service: str, type_name: str) -> Durations:
        return self._durations.setdefault((service, type_name), Durations(self._bounds))

    def count(self, ended: tuple[str, str, str]) -> None:
        """Service, type, result."""
        self._results[ended] = self._results.get(ended, 0) + 1

    def collect(self) -> Iterator[Metric]:
        handled = CounterMetricFamily(
            f"{self._prefix}_handled", "Messages handled, by how they ended", labels=["service", "type", "result"]
        )
        for labels, count in list(self._results.items()):
            handled.add_metric(labels, count)
        yield handled
        duration = HistogramMetricFamily(
            f"{self._prefix}_duration_seconds",
            "From the start of handling to the stored outcome",
            labels=["service", "type"],
        )
        for typed, durations in list(self._durations.items()):
            duration.add_metric(typed, durations.buckets(), durations.sum)
        yield duration
