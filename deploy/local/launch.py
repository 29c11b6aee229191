"""How each part is run: what it needs on disk, its command line, its readiness, its patience. One table, one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deploy.local import ports as listeners
from deploy.local.kafka.jars import ensure_jars
from deploy.local.kafka.java import find_java
from deploy.local.kafka.server import format_storage, kafka_command, write_properties
from deploy.local.ports import HOST
from deploy.local.probes import Probe, http_probe, kafka_probe, redis_probe
from deploy.local.redis_server import find_redis_server, write_settings
from deploy.local.site import COMPANIONS, HOSTED, PROGRAMS, SERVICES, Site
from deploy.local.state import ProcessRecord, Settings
from deploy.local.webhooks import write_addresses, write_secrets
from operations.endpoints import Endpoints, ProcessEndpoint, RedisEndpoints


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a part gets to become ready, and to end after SIGTERM."""

    start_seconds: float
    stop_seconds: float


# Kafka replays unflushed segments after a kill; Redis loads its file; programs finish what they have in hand.
_PATIENCE = {
    "kafka": Patience(90, 30),
    "redis-orchestrator": Patience(60, 20),
    "redis-services": Patience(60, 20),
    "sandbox": Patience(30, 10),
}
_PROGRAM_PATIENCE = Patience(60, 30)


@dataclass(frozen=True, slots=True)
class Launcher:
    """Makes the command lines of one stack. `say` hears of preparations that take long."""

    site: Site
    ports: Mapping[str, int]
    settings: Settings
    say: Callable[[str], None]

    def command(self, name: str) -> tuple[str, ...]:
        """Prepare what `name` needs on disk and return its command line, complete in itself.

        Raises `StackError` if a tool is missing or a preparation fails.
        """
        if name == "kafka":
            return self._kafka()
        if name == "redis-orchestrator":
            return self._redis(name, "everysec")
        if name == "redis-services":
            return self._redis(name, "always")
        if name == "sandbox":
            addresses = write_addresses(self.site, self.ports[listeners.GATEWAY])
            where = ("--port", str(self.ports[name]), "--data", str(self.site.folder(name)))
            start = self._program(name, "deploy.local.sandbox")
            return (*start, *where, "--webhooks", str(addresses), *self._arguments(name))
        return (*self._own(name), *self._arguments(name))

    def topics_command(self) -> tuple[str, ...]:
        """Return the command that creates and checks the topics; empty if this stack has none."""
        own = (self.site.python, "-m", "orchestrator.cli", "topics", "apply")
        command = own if self.settings.topics is None else self.settings.topics
        return (*command, "--endpoints", str(self.site.endpoints)) if command else ()

    def _kafka(self) -> tuple[str, ...]:
        java = find_java()
        jars = ensure_jars(self.site.cache, java, self.say)
        folder = self.site.folder("kafka")
        ports = self.ports[listeners.KAFKA], self.ports[listeners.CONTROLLER]
        properties = write_properties(folder, HOST, *ports)
        format_storage(java, jars, properties, self.site.log("kafka"))
        return kafka_command(java, jars, properties, self.settings.kafka_heap_mb)

    def _redis(self, name: str, appendfsync: str) -> tuple[str, ...]:
        settings = write_settings(self.site.folder(name), HOST, self.ports[name], appendfsync)
        return (find_redis_server(), str(settings))

    def _own(self, name: str) -> tuple[str, ...]:
        if name == "scheduler":
            start = self._program(name, "services.scheduler", "--file", str(self.site.schedules))
        elif name == "gateway":
            start = self._program(name, "services.gateway", *self._door())
        elif name in HOSTED:
            start = self._program(name, "services", *HOSTED[name], *self._documents())
        elif name in (*SERVICES, *COMPANIONS):
            start = self._program(name, "services", name)
        else:
            start = (*self._program(name, "orchestrator"), "--roles", self.settings.roles)
        where = ("--endpoints", str(self.site.endpoints), "--metrics-port", str(self.ports[name]))
        return (*start, *where, "--instance", f"{name}-1")

    def _door(self) -> tuple[str, ...]:
        where = ("--host", HOST, "--port", str(self.ports[listeners.GATEWAY]))
        return ("--file", str(self.site.sources), "--secrets", str(write_secrets(self.site)), *where)

    def _documents(self) -> tuple[str, ...]:
        folders = {
            "documents_incoming": self.site.documents_incoming,
            "documents_completed": self.site.documents_completed,
        }
        words: list[str] = []
        for option, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            words += ("--option", f"{option}={folder}")
        return tuple(words)

    def _program(self, name: str, module: str, *words: str) -> tuple[str, ...]:
        return self.settings.commands.get(name) or (self.site.python, "-m", module, *words)

    def _arguments(self, name: str) -> tuple[str, ...]:
        return self.settings.arguments.get(name, ())


def probe_of(name: str, ports: Mapping[str, int]) -> Probe:
    """Return what tells whether `name` is ready."""
    if name == "kafka":
        return kafka_probe(HOST, ports[name])
    if name in ("redis-orchestrator", "redis-services"):
        return redis_probe(HOST, ports[name])
    return http_probe(HOST, ports[name])


def patience_of(name: str) -> Patience:
    """Return how long to wait for `name`."""
    return _PATIENCE.get(name, _PROGRAM_PATIENCE)


def listeners_of(name: str) -> tuple[str, ...]:
    """Return the listeners that `name` opens."""
    if name == "kafka":
        return (listeners.KAFKA, listeners.CONTROLLER)
    return (name, listeners.GATEWAY) if name == "gateway" else (name,)


def metrics_of(name: str, ports: Mapping[str, int]) -> str | None:
    """Return the address of the metrics of `name`; None for what is not a program of ours."""
    return f"http://{HOST}:{ports[name]}/metrics" if name in PROGRAMS else None


def address_of(name: str, ports: Mapping[str, int]) -> str:
    """Return where `name` is found, for people."""
    if name == "gateway":
        return _door_of(ports)
    return metrics_of(name, ports) or f"{HOST}:{ports[name]}"


def _door_of(ports: Mapping[str, int]) -> str:
    return f"http://{HOST}:{ports[listeners.GATEWAY]}"


def endpoints_of(ports: Mapping[str, int], processes: Mapping[str, ProcessRecord]) -> Endpoints:
    """Return what `endpoints.json` says."""
    return Endpoints(
        kafka=f"{HOST}:{ports[listeners.KAFKA]}",
        redis=RedisEndpoints(
            orchestrator=f"redis://{HOST}:{ports[listeners.REDIS]}/0",
            services=f"redis://{HOST}:{ports[listeners.SERVICES_REDIS]}/0",
        ),
        sandbox=f"http://{HOST}:{ports[listeners.SANDBOX]}",
        gateway=_door_of(ports) if "gateway" in processes else None,
        processes={
            name: ProcessEndpoint(pid=record.pid, command=list(record.command), metrics=record.metrics)
            for name, record in processes.items()
        },
    )
