"""Which port each part listens on: given by the user, remembered from the last run, or a free one."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy.local.errors import StackError
from deploy.local.site import PROGRAMS

HOST = "127.0.0.1"
# Below Linux' ephemeral range (32768 and up): no outgoing connection takes a port while its part is stopped.
FREE_RANGE = range(20_000, 32_000)
TRIES = 200

KAFKA = "kafka"
CONTROLLER = "kafka-controller"
REDIS = "redis-orchestrator"
SERVICES_REDIS = "redis-services"
SANDBOX = "sandbox"
GATEWAY = "gateway-http"
"""Its door; its metrics have a port of their own, as those of all programs."""
LISTENERS = (KAFKA, CONTROLLER, REDIS, SERVICES_REDIS, SANDBOX, GATEWAY, *PROGRAMS)


@dataclass(frozen=True, slots=True)
class WantedPorts:
    """The ports that a user fixed; None = a free one. `metrics_base` is the orchestrator's, the services follow it."""

    kafka: int | None = None
    redis: int | None = None
    services_redis: int | None = None
    sandbox: int | None = None
    gateway: int | None = None
    metrics_base: int | None = None

    def by_listener(self) -> dict[str, int]:
        """Return the fixed ports by listener. Raises `StackError` if two listeners were given the same one."""
        fixed = {
            KAFKA: self.kafka,
            REDIS: self.redis,
            SERVICES_REDIS: self.services_redis,
            SANDBOX: self.sandbox,
            GATEWAY: self.gateway,
        }
        if self.metrics_base is not None:
            fixed |= {name: self.metrics_base + number for number, name in enumerate(PROGRAMS)}
        chosen = {name: port for name, port in fixed.items() if port is not None}
        for name, port in chosen.items():
            twin = next(other for other, its_port in chosen.items() if its_port == port)
            if twin != name:
                raise StackError(f"Port {port} was given to both {twin} and {name}; give each its own.")
        return chosen


def is_free(port: int) -> bool:
    """Say whether one can listen on `port` now; an earlier listener's dying connections do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def assigned(
    fixed: Mapping[str, int], remembered: Mapping[str, int], running: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Yield a port for every listener; while the context is open no other stack's `assigned` picks the same ones.

    `running` listeners keep theirs. A fixed port that is taken, or differs from a running listener's, raises
    `StackError`.
    """
    with contextlib.ExitStack() as claims:
        ports: dict[str, int] = {}
        for name in LISTENERS:
            if name in running:
                ports[name] = _unmoved(name, running[name], fixed.get(name))
            elif name in fixed:
                ports[name] = _fixed(name, fixed[name])
        for name in LISTENERS:
            if name not in ports:
                ports[name] = _free(remembered.get(name), set(ports.values()), claims)
        yield ports


def _unmoved(name: str, port: int, wanted: int | None) -> int:
    if wanted not in (None, port):
        raise StackError(f"{name} already runs on port {port}, not on {wanted}; stop it first (`down`) to move it.")
    return port


def _fixed(name: str, port: int) -> int:
    if not 1 <= port <= 65_535:
        raise StackError(f"{port} is no port for {name}; give one from 1 to 65535.")
    if not is_free(port):
        raise StackError(f"Port {port} for {name} is taken by another program; stop that, or give another port.")
    return port


def _free(remembered: int | None, taken: set[int], claims: contextlib.ExitStack) -> int:
    # Two checkouts started at the same moment must differ, so the choice is random and claimed, not counted up.
    candidates = random.sample(FREE_RANGE, TRIES)
    for port in ([remembered] if remembered else []) + candidates:
        if port not in taken and is_free(port) and _claim(port, claims):
            return port
    raise StackError(f"No free port found between {FREE_RANGE.start} and {FREE_RANGE.stop} in {TRIES} tries.")


def _claim(port: int, claims: contextlib.ExitStack) -> bool:
    # A name in the abstract Unix namespace: exclusive on this machine, gone with its process, leaves no file behind.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0counterpoint-port-{port}")
    except OSError:
        claim.close()
        return False
    claims.callback(claim.close)
    return True
