"""The gateway's metrics. Labels are bounded: declared names, closed sets of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "counterpoint_gateway"
OTHER = "other"
"""Label of a form, source or link that is not declared."""
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

Kind = Literal["forms", "webhooks", "resume"]


class GatewayMetrics:
    """`waiting`: how many events are not acknowledged now."""

    def __init__(self, registry: CollectorRegistry, waiting: Callable[[], int]) -> None:
        self._requests = Counter(
            f"{PREFIX}_requests_total",
            "Submissions, by how they ended: accepted, repeated, ignored, or the code of the problem",
            ["kind", "name", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            f"{PREFIX}_duration_seconds", "From request to answer", ["kind"], buckets=BUCKETS_S, registry=registry
        )
        self._refused = Counter(
            f"{PREFIX}_signatures_refused_total", "Webhooks that are not proven", ["name", "reason"], registry=registry
        )
        gauge = Gauge(f"{PREFIX}_publishing", "Events that Kafka has not acknowledged", registry=registry)
        gauge.set_function(waiting)
        self.waiting = waiting

    def ended(self, kind: Kind, name: str, result: str, duration_s: float) -> None:
        self._requests.labels(kind, name, result).inc()
        self._duration.labels(kind).observe(duration_s)

    def unsigned(self, name: str, reason: str) -> None:
        self._refused.labels(name, reason).inc()
