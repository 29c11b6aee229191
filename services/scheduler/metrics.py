"""The metrics of the scheduler. Labels are bounded: the declared schedules, closed sets of words."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "counterpoint_scheduler"
BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600, 86_400)


class SchedulerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        self.leader = Gauge(f"{PREFIX}_leader", "1 while this replica announces", registry=registry)
        self.ahead = Gauge(
            f"{PREFIX}_ahead_schedules", "Schedules settled beyond the clock, which wait for it", registry=registry
        )
        self.ticks = counter("ticks_total", "Due times announced", "schedule")
        self.runs = counter("runs_total", "Runs that people asked for, announced", "schedule")
        self.dropped = counter("dropped_total", "Missed due times passed over, as many as were looked at", "schedule")
        self.lost = counter("leases_lost_total", "Times this replica lost its lease")
        self.faults = counter("faults_total", "Infrastructure faults waited out", "what")
        self.late = Histogram(
            f"{PREFIX}_late_seconds",
            "From when a tick was to be announced to its acknowledgement",
            buckets=BUCKETS_S,
            registry=registry,
        )
