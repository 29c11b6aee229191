"""The chain of one service, put together."""

from __future__ import annotations

from collections.abc import Sequence

from services.sdk.injection import bind
from services.sdk.limits import Rate
from services.sdk.metrics import ServiceMetrics
from services.sdk.middleware.batches import Batcher
from services.sdk.middleware.dead_letter import DeadLetter
from services.sdk.middleware.dedupe import Dedupe, Store
from services.sdk.middleware.limited import Limited, RateGate
from services.sdk.middleware.observe import Observe
from services.sdk.middleware.retry import RunHandler
from services.sdk.service import Service
from services.sdk.surroundings import Surroundings
from services.sdk.work import Step


def chain(
    service: Service,
    resources: Sequence[object],
    store: Store,
    metrics: ServiceMetrics,
    around: Surroundings,
    retention_ms: int,
    session: str,
) -> Step:
    """What the runner calls with decoded work.

    Raises:
        RegistrationError: a resource that a handler asks for is absent or ambiguous.
    """
    arguments = {name: bind(handler, resources) for name, handler in service.handlers.items()}
    limits = {name: handler.limit for name, handler in service.handlers.items() if handler.limit is not None}
    gates = {name: RateGate(limit, around) for name, limit in limits.items() if isinstance(limit, Rate)}
    batchers = {
        name: Batcher(handler, handler.batching, arguments[name])
        for name, handler in service.handlers.items()
        if handler.batching is not None
    }
    execute = RunHandler(arguments, metrics, around, gates, batchers)
    letters = DeadLetter(service.name, execute, around)
    dedupe = Dedupe(service.name, store, letters, metrics, around, retention_ms, session)
    observed = Observe(dedupe, metrics, around)
    return Limited(observed, limits, gates) if limits else observed
