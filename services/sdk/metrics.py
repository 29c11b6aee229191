"""The metrics of automations. Labels are bounded: services, their own message types, closed sets of words."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.sdk.ends import Ends
from services.sdk.reasons import Reason
from services.sdk.work import Done, Skipped, Work

PREFIX = "counterpoint_automation"
OTHER_TYPE = "other"
"""Label of a type that the service does not handle."""
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One set for all services of an OS process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: list[str]) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: list[str]) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry)

        typed = ["service", "type"]
        self.ends = Ends(PREFIX, BUCKETS_S)
        registry.register(self.ends)
        self.retries = counter("retries_total", "Executions repeated in process", typed)
        self.duplicates = counter("duplicates_total", "Repeats answered from the inbox", typed)
        self.dead_letters = counter("dead_letters_total", "Records sent to dead letters", ["service", "reason"])
        self.skipped = counter("skipped_total", "Events that are not for this service", ["service", "why"])
        self.faults = counter("faults_total", "Infrastructure faults waited out", ["service", "what"])
        self.replays = counter("position_resets_total", "Times the store had moved and was replayed", ["service"])
        self.in_flight = gauge("in_flight", "Messages being handled", ["service"])
        self.lag = gauge("lag_records", "Records appended and not yet committed", ["service", "topic"])


class ServiceMetrics:
    """The same, seen by one service. Children are looked up once: label look-up costs more than the increment."""

    def __init__(self, metrics: Metrics, service: str, types: frozenset[str]) -> None:
        self.service = service
        self.retries = metrics.retries
        self.duplicates = metrics.duplicates
        self.running = 0
        """Messages being handled; read by the gauge when somebody looks."""
        metrics.in_flight.labels(service).set_function(lambda: self.running)
        self.resets = metrics.replays.labels(service)
        self._metrics = metrics
        self._types = types
        self._durations = {name: metrics.ends.durations(service, name) for name in (*types, OTHER_TYPE)}
        self._skipped = {known: metrics.skipped.labels(service, why) for known, why in _WHY.items()}
        for reason in Reason:
            metrics.dead_letters.labels(service, reason)

    def type_label(self, work: Work) -> str:
        name = work.envelope.type
        return name if name in self._types else OTHER_TYPE

    def ended(self, work: Work, done: Done, duration_s: float) -> None:
        name = self.type_label(work)
        self._metrics.ends.count((self.service, name, done.result))
        if done.reason is not None:
            self.dead_lettered(done.reason)
        self._durations[name].add(duration_s)

    def skip(self, skipped: Skipped) -> None:
        self._skipped[skipped.known].inc()

    def dead_lettered(self, reason: Reason) -> None:
        self._metrics.dead_letters.labels(self.service, reason).inc()

    def fault(self, what: str) -> None:
        self._metrics.faults.labels(self.service, what).inc()

    def set_lag(self, by_topic: dict[str, int]) -> None:
        for topic, records in by_topic.items():
            self._metrics.lag.labels(self.service, topic).set(records)


_WHY = {True: "not-handled", False: "unknown-type"}
