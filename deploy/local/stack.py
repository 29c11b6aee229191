"""One stack on this machine: Kafka, two Redis, the sandbox, the orchestrator and the services, as plain processes.

    stack = Stack(tmp_path)
    endpoints = stack.up(only=INFRASTRUCTURE)
    ...
    stack.down()

Everything about a stack is in its data folder: any other `Stack` on the same folder, in any process, sees and handles
the same processes. Nothing is restarted by itself. All methods are synchronous, bounded in time, and raise
`StackError`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local import process
from deploy.local.errors import StackError
from deploy.local.launch import address_of, listeners_of, probe_of
from deploy.local.locking import held
from deploy.local.ports import CONTROLLER, GATEWAY, WantedPorts, assigned, is_free
from deploy.local.progress import Report, silent
from deploy.local.runner import STOP_STAGES, Runner, running_parts
from deploy.local.site import COMPANIONS, INFRASTRUCTURE, NAMES, SERVICES, site_at
from deploy.local.state import Settings, State, read_state
from operations.endpoints import Endpoints, EndpointsError, read_endpoints

LOCK_PATIENCE_SECONDS = 180
FOUND_BY_OTHERS = (*INFRASTRUCTURE, CONTROLLER, GATEWAY)


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as it is now: running (and ready or not), dead (it ended and nobody stopped it), or stopped."""

    name: str
    state: str
    ready: bool
    pid: int | None
    address: str | None


class Stack:
    """The runner of one data folder. `settings=None` means those the folder was last brought up with."""

    def __init__(
        self,
        data: Path | str = ".local",
        *,
        ports: WantedPorts | None = None,
        services: Sequence[str] = SERVICES,
        settings: Settings | None = None,
        report: Report = silent,
    ) -> None:
        """Describe a stack; nothing is started or read before a method is called.

        `data`: the stack's folder; a relative one is taken from the project's root.
        """
        self.site = site_at(data)
        self._ports = ports or WantedPorts()
        self._services = tuple(_known(services, (*SERVICES, *COMPANIONS)))
        self._settings = settings
        self._runner = Runner(self.site, report)

    @property
    def endpoints(self) -> Endpoints:
        """What `endpoints.json` says. Raises `StackError` when the stack is down."""
        try:
            return read_endpoints(self.site.endpoints)
        except EndpointsError as error:
            raise StackError(f"The stack is down: {error}.") from error

    def up(self, only: Sequence[str] | None = None) -> Endpoints:
        """Start what does not run yet (all, or `only` some names), wait until it is ready, and return the endpoints.

        On any failure, what this call started is stopped again before the error is raised.
        """
        names = _known(only, NAMES) if only is not None else (*INFRASTRUCTURE, "orchestrator", *self._services)
        with self._changing() as before:
            running = running_parts(before)
            # What runs has read the addresses of Kafka and the rest: they must not move under it.
            theirs = {name: before.ports[name] for name in FOUND_BY_OTHERS if name in before.ports}
            kept = theirs if running else {}
            fixed = {**kept, **self._ports.by_listener()}
            busy = {one: before.ports[one] for name in running for one in listeners_of(name)}
            with assigned(fixed, before.ports, busy) as ports:
                settings = self._settings or before.settings
                state = before.model_copy(update={"ports": ports, "settings": settings})
                self._runner.save(state)
                self._runner.start_all(names, state)
        return self.endpoints

    def down(self) -> None:
        """Stop everything that runs, programs first; data, logs and ports stay for the next `up`."""
        if not self.site.state.exists():
            return
        with self._changing() as before:
            state = before
            for stage in STOP_STAGES:
                state = self._runner.stop_all([name for name in stage if name in state.processes], state)

    def start(self, name: str) -> None:
        """Start one part where it was before, with the same settings, and wait until it is ready."""
        (name,) = _known([name], NAMES)
        with self._changing() as state:
            if not state.ports:
                raise StackError(f"{self.site.data} holds no stack yet; bring it up first (`up`).")
            taken = [state.ports[one] for one in listeners_of(name) if not is_free(state.ports[one])]
            if taken and name not in running_parts(state):
                raise StackError(
                    f"Port {taken[0]} of {name} is taken by another program; stop that, or `down` and `up`."
                )
            self._runner.start_all([name], state, with_topics=False)

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Stop one part: SIGTERM, and SIGKILL if it does not end in time; with `kill` SIGKILL at once."""
        (name,) = _known([name], NAMES)
        with self._changing() as state:
            if name not in running_parts(state):
                self._runner.tell(name, "not-running")
            self._runner.stop_all([name] if name in state.processes else [], state, kill=kill)

    def kill(self, name: str) -> None:
        """End one part with SIGKILL, as a crash would."""
        self.stop(name, kill=True)

    def status(self) -> tuple[PartStatus, ...]:
        """Return how every part is now; readiness is asked afresh."""
        state = _adopted(read_state(self.site.state))
        running = running_parts(state)
        return tuple(_status(name, state, name in running) for name in NAMES)

    def erase(self) -> None:
        """Delete the data folder, so that the next `up` begins anew. Raises `StackError` while anything runs."""
        if not self.site.data.exists():
            return
        running = running_parts(_adopted(read_state(self.site.state)))
        if running:
            raise StackError(f"{', '.join(running)} still runs in {self.site.data}; stop the stack first (`down`).")
        if any(self.site.data.iterdir()) and not self.site.state.exists():
            raise StackError(
                f"{self.site.data} is not the folder of a stack (it has no state.json); delete it by hand."
            )
        if self.site.cache.is_relative_to(self.site.data):
            raise StackError(f"{self.site.data} also holds other stacks and the cache; delete it by hand.")
        shutil.rmtree(self.site.data)

    @contextmanager
    def _changing(self) -> Iterator[State]:
        with held(self.site.lock, LOCK_PATIENCE_SECONDS, "another command is changing this stack"):
            yield _adopted(read_state(self.site.state))


def _adopted(state: State) -> State:
    """Take a part that died, and that somebody started again by its command line, for the part it is."""
    for name, record in state.processes.items():
        if process.alive(record.identity):
            continue
        found = process.find_by_command(record.command)
        if found is not None:
            same = {"pid": found.pid, "started_ticks": found.started_ticks, "boot": found.boot}
            state = state.with_process(name, record.model_copy(update=same))
    return state


def _status(name: str, state: State, running: bool) -> PartStatus:
    record = state.processes.get(name)
    if record is None:
        return PartStatus(name, "stopped", False, None, None)
    ready = running and probe_of(name, state.ports)() is None
    return PartStatus(name, "running" if running else "dead", ready, record.pid, address_of(name, state.ports))


def _known(names: Sequence[str], among: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in among]
    if unknown:
        raise StackError(f"There is no part named {unknown[0]!r}; the names are: {', '.join(among)}.")
    return [name for name in among if name in names]
