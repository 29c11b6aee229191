"""All that one running service is made of, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.sdk.inbox_retention import RETENTION_MS
from services.sdk.injection import bind
from services.sdk.metrics import ServiceMetrics
from services.sdk.patience import Patience
from services.sdk.ports import Bus, Inbox
from services.sdk.service import Service
from services.sdk.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Limits:
    """Every number that bounds a runner."""

    concurrency: int = 256
    """Messages of different keys handled at once."""
    held_max: int = 1_024
    """Records read and not finished; above it the runner stops reading."""
    retention_ms: int = RETENTION_MS
    poll_s: float = 0.2
    """Longest wait of one poll."""
    commit_s: float = 0.5
    """Pause between two commits."""
    drain_s: float = 5.0
    """How long a rebalance waits for running messages; the rest is abandoned, safely, to the next owner."""
    stop_s: float = 20.0
    """The same for a stop."""
    accept_empty_store: bool = False
    """Start although the inbox is empty and the group has committed: the operator accepts that what was done before
    may be done again under the same ids."""


@dataclass(frozen=True, slots=True)
class Wiring:
    service: Service
    resources: Sequence[object]
    inbox: Inbox
    bus: Bus
    metrics: ServiceMetrics
    patience: Patience
    around: Surroundings
    instance: str
    """Stable name of this OS process among the replicas of the service; the static group member."""
    limits: Limits = field(default_factory=Limits)


def check_resources(wiring: Wiring) -> None:
    """Raises RegistrationError if a resource that a handler asks for is absent or ambiguous."""
    for handler in wiring.service.handlers.values():
        bind(handler, wiring.resources)
    if wiring.service.when_rewound is not None:
        wiring.service.when_rewound.bound(wiring.resources)
