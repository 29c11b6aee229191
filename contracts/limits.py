"""Limits across processes: what processes and limiters say to each other, on `orchestrator.inbox` alone.

A limiter is a process of the engine's own, `limiter:<kind>:<name>`. A request is named by an id that its process makes:
`<process>/<step path>/<try>/permit/<revision>` (`#saga` and try 0 where the whole process asks).
"""

from __future__ import annotations

from pydantic import Field

from contracts.message import Event, Text


class PermitRequested(Event, type="orchestrator.permit-requested.v1"):
    """To a limiter. The numbers are those of the definition that the process runs by.

    A rate has `period_ms` and `burst`: `count` permits a period, `burst` at once. A concurrency has `lease_ms`: what
    was granted is free again after so long, unless the same request comes again; as a `renewal`, which is not answered.
    """

    process_id: Text
    request: Text
    count: int = Field(ge=1, strict=True)
    period_ms: int | None = Field(default=None, ge=1, strict=True)
    burst: int | None = Field(default=None, ge=1, strict=True)
    lease_ms: int | None = Field(default=None, ge=1, strict=True)
    renewal: bool = Field(default=False, strict=True)


class PermitReleased(Event, type="orchestrator.permit-released.v1"):
    """To a limiter: the request is not needed any more, whether it was granted or still waits."""

    process_id: Text
    request: Text


class PermitGranted(Event, type="orchestrator.permit-granted.v1"):
    """To the process that asked. `not_before_ms`: from when it may be used, milliseconds since the epoch; of a
    concurrency, also when its lease began."""

    process_id: Text
    limiter: Text
    request: Text
    not_before_ms: int = Field(ge=0, strict=True)


class PermitDeferred(Event, type="orchestrator.permit-deferred.v1"):
    """To the process that asked: too many wait already; ask again at `again_at_ms` (since the epoch)."""

    process_id: Text
    limiter: Text
    request: Text
    again_at_ms: int = Field(ge=0, strict=True)
