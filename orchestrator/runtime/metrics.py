"""The orchestrator's metrics. Every label has a closed or small set of values: never an id, never free text.

What happens once per input is counted in plain dictionaries first and handed over once per batch.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.engine.decision import Decision, LimiterMeasure, Measure
from orchestrator.runtime.shard import Folded
from orchestrator.runtime.store import Checkpoint, WriteResult

STEP_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900)
"""From a local answer to the default patience of 15 minutes."""
PROCESS_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3_600, 7_200, 86_400)
"""From an undisturbed order to a process that waits for a person."""
CHECKPOINT_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500)


class NeedsPerson(Protocol):
    """What the refusal gauge reads of a refused shard."""

    @property
    def shard(self) -> int: ...
    @property
    def code(self) -> str: ...


class EngineMetrics:
    """Of the shard loop, its checkpoints and its claims."""

    def __init__(self, registry: CollectorRegistry, dead: Counter) -> None:
        self._dead = dead
        self._inputs = Counter("counterpoint_inputs", "Inbox records folded", ("result", "reason"), registry=registry)
        self._alerts = Counter("counterpoint_alerts", "Inputs that deserve a look", ("alert",), registry=registry)
        self._effects = Counter("counterpoint_effects_published", "Effects acknowledged", registry=registry)
        self._suppressed = Counter(
            "counterpoint_effects_suppressed", "Effects of a replay that were published before", registry=registry
        )
        self._skipped = Counter(
            "counterpoint_inputs_skipped", "Inputs of a replay that a snapshot has in it", registry=registry
        )
        self._resent = Counter(
            "counterpoint_commands_resent", "Awaited commands sent once more after a replay", registry=registry
        )
        self._loaded = Counter("counterpoint_cache_misses", "Processes read from the store", registry=registry)
        self._step = Histogram(
            "counterpoint_step_duration_seconds", "From a step's first send to its settlement",
            ("saga", "step", "outcome"), buckets=STEP_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._process = Histogram(
            "counterpoint_process_duration_seconds", "From a process' start to its end",
            ("saga", "outcome"), buckets=PROCESS_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._permit = Histogram(
            "counterpoint_permit_wait_seconds", "From asking for a permit to its use",
            ("kind", "limiter"), buckets=STEP_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._permits = Counter(
            "counterpoint_permits", "What limiters answered: granted, deferred (the line is full), expired (a lease)",
            ("kind", "limiter", "result"), registry=registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "counterpoint_permits_waiting", "Requests in line; of a rate, permits given away ahead of their time",
            ("kind", "limiter"), registry=registry,
        )  # fmt: skip
        self._checkpoints = Counter("counterpoint_checkpoints", "Checkpoints written", ("result",), registry=registry)
        self._checkpoint_inputs = Histogram(
            "counterpoint_checkpoint_inputs", "Inputs covered by one checkpoint",
            buckets=CHECKPOINT_BUCKETS, registry=registry,
        )  # fmt: skip
        self._checkpoint_bytes = Counter(
            "counterpoint_checkpoint_bytes", "Blobs and history written", registry=registry
        )
        self._checkpoint_age = Gauge(
            "counterpoint_checkpoint_age_seconds", "Age of the oldest input that is not stored yet", registry=registry
        )
        self._lag = Gauge(
            "counterpoint_inbox_lag", "Inbox records not read yet, on this engine's shards", registry=registry
        )
        self._shards = Gauge("counterpoint_shards", "Shards of this engine", ("state",), registry=registry)
        self._refused = Gauge(
            "counterpoint_shard_refused", "1: the shard needs a person", ("shard", "code"), registry=registry
        )
        self._restarts = Counter("counterpoint_shard_restarts", "Shards claimed again", ("why",), registry=registry)
        self._processes = Gauge(
            "counterpoint_processes", "Processes in the store", ("saga", "phase"), registry=registry
        )

    def folded(self, folded: Folded) -> None:
        """Count one published fold of one shard."""
        for (result, reason), count in Tally((d.result, d.reason) for d in folded.decisions).items():
            self._inputs.labels(result, reason or "").inc(count)
        for code, count in Tally(folded.dead_letters).items():
            self._dead.labels("engine", code).inc(count)
        if folded.suppressed:
            self._suppressed.inc(folded.suppressed)
        if folded.skipped:
            self._skipped.inc(folded.skipped)
        if folded.resent:
            self._resent.inc(folded.resent)
        for decision in folded.decisions:
            if decision.measures or decision.alerts:
                self._decision(decision)

    def _decision(self, decision: Decision) -> None:
        for measure in decision.measures:
            self._measure(measure)
        for alert in decision.alerts:
            self._alerts.labels(alert).inc()

    def _measure(self, measure: Measure | LimiterMeasure) -> None:
        if isinstance(measure, LimiterMeasure):
            self._limiter(measure)
            return
        seconds = measure.duration_ms / 1000
        if measure.kind == "step":
            self._step.labels(measure.saga, measure.name, measure.outcome).observe(seconds)
        elif measure.kind == "permit":
            self._permit.labels(measure.outcome, measure.name).observe(seconds)
        else:
            self._process.labels(measure.saga, measure.outcome).observe(seconds)

    def _limiter(self, measure: LimiterMeasure) -> None:
        """The names of limiters come from the definitions: there are few."""
        for result in ("granted", "deferred", "expired"):
            count: int = getattr(measure, result)
            if count:
                self._permits.labels(measure.kind, measure.name, result).inc(count)
        self._waiting.labels(measure.kind, measure.name).set(measure.waiting)

    def published(self, effects: int) -> None:
        self._effects.inc(effects)

    def loaded(self, processes: int) -> None:
        self._loaded.inc(processes)

    def checkpoint(self, checkpoint: Checkpoint, result: WriteResult) -> None:
        """Count one answered checkpoint."""
        self._checkpoints.labels(result.value).inc()
        self._checkpoint_inputs.observe(checkpoint.inputs)
        self._checkpoint_bytes.inc(
            sum(len(write.blob or b"") + sum(map(len, write.history)) for write in checkpoint.writes)
        )

    def checkpoint_age(self, seconds: float) -> None:
        self._checkpoint_age.set(seconds)

    def lag(self, records: int) -> None:
        self._lag.set(records)

    def restarted(self, why: str) -> None:
        self._restarts.labels(why).inc()

    def shards(self, *, active: int, claiming: int, refused: Iterable[NeedsPerson]) -> None:
        """Renew the gauges of ownership."""
        self._refused.clear()
        count = 0
        for shard in refused:
            self._refused.labels(str(shard.shard), shard.code).set(1)
            count += 1
        for state, number in (("active", active), ("claiming", claiming), ("refused", count)):
            self._shards.labels(state).set(number)

    def processes(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Renew the gauge of processes by (saga, phase)."""
        for (saga, phase), count in counts.items():
            self._processes.labels(saga, phase).set(count)


class RouterMetrics:
    def __init__(self, registry: CollectorRegistry, dead: Counter) -> None:
        self._routed = Counter("counterpoint_router_records", "Inbox records appended", ("kind",), registry=registry)
        self._skipped = Counter("counterpoint_router_skipped", "Events not for a saga", ("reason",), registry=registry)
        self._lag = Gauge("counterpoint_router_lag", "Event records not read yet by this router", registry=registry)
        self._lost = Counter(
            "counterpoint_router_positions_lost", "Partitions read again from the log's start", registry=registry
        )
        self._dead = dead

    def batch(self, routed: Mapping[str, int], skipped: Mapping[str, int], dead: Mapping[str, int]) -> None:
        """Count one acknowledged batch."""
        for kind, count in routed.items():
            self._routed.labels(kind).inc(count)
        for reason, count in skipped.items():
            self._skipped.labels(reason).inc(count)
        for reason, count in dead.items():
            self._dead.labels("router", reason).inc(count)

    def lag(self, records: int) -> None:
        self._lag.set(records)

    def position_lost(self, places: int) -> None:
        """Count partitions whose position was not in the log any more."""
        self._lost.inc(places)


class ClockMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._due = Gauge("counterpoint_timers_due", "Timers that were due at the last look", registry=registry)
        self._fired = Counter("counterpoint_timers_fired", "Timer inputs appended", ("kind",), registry=registry)
        self._late = Histogram(
            "counterpoint_timer_lateness_seconds", "From due to appended",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600), registry=registry,
        )  # fmt: skip
        self._probes = Counter(
            "counterpoint_clock_probes", "Records sent to learn the broker's time", registry=registry
        )

    def due(self, timers: int) -> None:
        self._due.set(timers)

    def fired(self, kind: str, lateness_s: float) -> None:
        """`kind`: first, or again."""
        self._fired.labels(kind).inc()
        self._late.observe(max(lateness_s, 0))

    def probed(self) -> None:
        self._probes.inc()


class SnapshotMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._taken = Counter("counterpoint_snapshots", "Processes snapshotted", registry=registry)
        self._bytes = Counter("counterpoint_snapshot_bytes", "Written to the snapshots topic", registry=registry)
        self._cuts = Counter("counterpoint_snapshot_cuts", "Cuts of shards moved", registry=registry)
        self._age = Gauge(
            "counterpoint_snapshot_age_seconds", "Age of the oldest input that no cut has passed", registry=registry
        )
        self._restoring = Counter(
            "counterpoint_restore_records", "Snapshot records put back into the store", registry=registry
        )
        self._restored = Counter("counterpoint_restored_processes", "Of shards that are whole", registry=registry)

    def taken(self, processes: int, size: int) -> None:
        """Count one page of acknowledged snapshots; `size` in bytes."""
        self._taken.inc(processes)
        self._bytes.inc(size)

    def cut(self) -> None:
        """Count one cut that has moved."""
        self._cuts.inc()

    def age(self, seconds: float) -> None:
        self._age.set(seconds)

    def restoring(self) -> None:
        """Count one record on its way back."""
        self._restoring.inc()

    def restored(self, processes: int) -> None:
        """Count the processes of a shard that is whole again."""
        self._restored.inc(processes)


class Metrics:
    """All of them, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        dead = Counter("counterpoint_dead_letters", "Records given up", ("role", "reason"), registry=registry)
        self.engine = EngineMetrics(registry, dead)
        self.router = RouterMetrics(registry, dead)
        self.clock = ClockMetrics(registry)
        self.snapshots = SnapshotMetrics(registry)
