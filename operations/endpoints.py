"""Where a stack is: `endpoints.json`, written by deploy/local or by hand, read by every program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ENVIRONMENT_NAME = "COUNTERPOINT_ENDPOINTS"
DEFAULT_FILE = Path(".local/endpoints.json")


class EndpointsError(RuntimeError):
    """No usable endpoints file; the message says what was looked for and what to do."""


class RedisEndpoints(BaseModel):
    """`services` is a system of record, `orchestrator` can be rebuilt: two instances (DESIGN section 5)."""

    model_config = ConfigDict(frozen=True)

    orchestrator: str
    services: str


class ProcessEndpoint(BaseModel):
    """One OS process of a local stack."""

    model_config = ConfigDict(frozen=True)

    pid: int
    command: list[str]
    metrics: str | None = None
    """URL of `/metrics`; `/healthz` and `/readyz` are beside it. None for what is no program of ours."""


class Endpoints(BaseModel):
    model_config = ConfigDict(frozen=True)

    kafka: str
    """Bootstrap servers, `host:port[,host:port]`."""
    redis: RedisEndpoints
    sandbox: str | None = None
    """Base URL of the local outside world."""
    gateway: str | None = None
    """Base URL of the local gateway; None: it does not run."""
    processes: dict[str, ProcessEndpoint] = Field(default_factory=dict)


def read_endpoints(file: Path) -> Endpoints:
    """Raises EndpointsError if the file is absent or not an endpoints file."""
    try:
        return Endpoints.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise EndpointsError(f"no stack at {file}: start one with `make up`, or name its endpoints file") from None
    except (OSError, ValidationError) as error:
        raise EndpointsError(f"{file} is not a readable endpoints file: {error}") from error


def find_endpoints(explicit: Path | None, environment: Mapping[str, str], folder: Path) -> Endpoints:
    """The stack to talk to: `explicit`, else the file in COUNTERPOINT_ENDPOINTS, else `.local/endpoints.json` in
    `folder`.

    Raises:
        EndpointsError: as read_endpoints.
    """
    if explicit is not None:
        return read_endpoints(explicit)
    named = environment.get(ENVIRONMENT_NAME)
    return read_endpoints(Path(named) if named else folder / DEFAULT_FILE)
