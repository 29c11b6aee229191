"""The audit that never ends: round after round over an engine's own shards, at no more than its share of the time.

Tells what it finds once, as an error in the log, and always in `counterpoint_stranded_processes`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from orchestrator.runtime.audit import Finding
from orchestrator.runtime.audit_store import AuditStore
from orchestrator.runtime.auditor import SHARE, Auditor, Pace, Round
from orchestrator.runtime.broker_time import BrokerTime
from orchestrator.runtime.store import StoreUnavailable

log = structlog.get_logger(__name__)

ROUND_PAUSE_S = 30.0
"""Between two rounds."""
TOLD_MAX = 1_000
"""Findings that are remembered as told."""


class AuditMetrics:
    def __init__(self, registry: CollectorRegistry, wall_s: Callable[[], float]) -> None:
        """`wall_s`: seconds since the epoch."""
        self._wall_s = wall_s
        self._stranded = Gauge(
            "counterpoint_stranded_processes",
            "Processes of this engine's shards that cannot go on, at the last audit",
            registry=registry,
        )
        self._findings = Gauge("counterpoint_audit_findings", "What the last audit found", ("code",), registry=registry)
        self._ended = Gauge(
            "counterpoint_audit_ended_seconds", "When the last audit ended, since 1970", registry=registry
        )
        self._duration = Gauge("counterpoint_audit_duration_seconds", "How long the last audit took", registry=registry)
        self._processes = Gauge(
            "counterpoint_audit_processes", "States that the last audit looked at", registry=registry
        )

    def ended(self, found: Round, duration_s: float) -> None:
        """One round is over."""
        self._stranded.set(len(found.stranded))
        self._findings.clear()
        for code in {one.code for one in found.findings}:
            self._findings.labels(code).set(sum(one.code == code for one in found.findings))
        self._ended.set(self._wall_s())
        self._duration.set(duration_s)
        self._processes.set(found.processes)


class AuditLoop:
    """Construct, `open`, then `run`, then `close`, as the other loops."""

    def __init__(
        self,
        store: AuditStore,
        owned: Callable[[], frozenset[int]],
        metrics: AuditMetrics,
        *,
        monotonic: Callable[[], float],
        share: float = SHARE,
    ) -> None:
        """`owned`: the shards to look at, asked before each round. `monotonic` gives seconds."""
        self._owned = owned
        self._metrics = metrics
        self._monotonic = monotonic
        self._stopping = asyncio.Event()
        pace = Pace(share, monotonic, self._sleep)
        # The broker's time, as the clock judges: by a wall clock that goes fast every timer would be overdue.
        self._time = BrokerTime(monotonic)
        self._auditor = Auditor(store, pace, lambda: self._time.now_ms() or 0, self._sleep)
        self._told: dict[str, None] = {}

    async def open(self) -> None:
        """Nothing to connect: the store is the engine's."""

    async def run(self) -> None:
        """Look until `stop`. A store that is away is waited out: it is the engine that tells of it."""
        while not self._stopping.is_set():
            owned = frozenset(self._owned())
            if owned:
                with contextlib.suppress(StoreUnavailable, _Stopped):
                    await self.round(owned)
            await self._wait(ROUND_PAUSE_S)

    async def round(self, owned: frozenset[int]) -> Round:
        """One round. Raises StoreUnavailable."""
        began_s = self._monotonic()
        found = await self._auditor.round(owned)
        # A shard that went to another engine meanwhile is that engine's to judge.
        still = frozenset(self._owned())
        found.findings = [one for one in found.findings if one.shard in still]
        self._metrics.ended(found, self._monotonic() - began_s)
        for one in found.findings:
            key = f"{one.process_id}/{one.why}"
            if key not in self._told:
                log.error("stranded" if one.strands else "damaged", **_said(one))
            self._told[key] = None
        while len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        return found

    def observe(self, at_ms: int) -> None:
        """Somebody in this program has just had an ack with this append time (milliseconds). Before the first one no
        timer is taken for overdue."""
        self._time.observe(at_ms)

    def stop(self) -> None:
        """Ask `run` to end; a round under way is given up."""
        self._stopping.set()

    async def close(self) -> None:
        """Nothing to close."""

    async def _sleep(self, seconds: float) -> None:
        await self._wait(seconds)
        if self._stopping.is_set():
            raise _Stopped

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class _Stopped(Exception):
    """A round is given up."""


def _said(one: Finding) -> dict[str, object]:
    return {"code": one.code, "shard": one.shard, "process": one.process_id, "why": one.why, "frees": one.frees}
