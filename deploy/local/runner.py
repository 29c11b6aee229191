"""Starts and stops the processes of a stack that its caller has locked; its two files are true after every step."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.local import process
from deploy.local.errors import StackError
from deploy.local.launch import Launcher, address_of, endpoints_of, metrics_of, patience_of, probe_of
from deploy.local.probes import Probe
from deploy.local.process import Identity
from deploy.local.progress import Event, Progress, Report
from deploy.local.site import PROGRAMS, Site
from deploy.local.state import ProcessRecord, State, read_state, write_atomically
from deploy.local.uninterrupted import uninterrupted

TOPICS_SECONDS = 90
POLL_SECONDS = 0.05

# Kafka is the slow one: the others come up while its storage is being prepared.
_START_STAGES = (("redis-orchestrator", "redis-services", "sandbox", "kafka"), PROGRAMS)
STOP_STAGES = (PROGRAMS, ("sandbox", "kafka", "redis-orchestrator", "redis-services"))

# What our programs cannot start without.
_FOUNDATION = ("kafka", "redis-orchestrator", "redis-services")


@dataclass(frozen=True, slots=True)
class _Wait:
    """A part that was spawned and is not ready yet. Times are monotonic seconds, `log_start` is a byte offset."""

    name: str
    identity: Identity
    probe: Probe
    began: float
    give_up: float
    log: Path
    log_start: int

    def tail(self) -> str:
        return process.tail(self.log, self.log_start)


class Runner:
    """Works on one site and tells `report` what it does. Every failure is a `StackError`."""

    def __init__(self, site: Site, report: Report) -> None:
        """Read and start nothing yet."""
        self._site = site
        self._report = report

    def start_all(self, names: Iterable[str], state: State, *, with_topics: bool = True) -> None:
        """Start what does not run of `names` and wait until it is ready; on failure stop what this call started."""

        def say(text: str) -> None:
            self.tell("kafka", "note", detail=text)

        launcher = Launcher(self._site, state.ports, state.settings, say)
        started: list[str] = []
        try:
            for stage in _START_STAGES:
                running = running_parts(state)
                chosen = [name for name in stage if name in names]
                for name in (name for name in chosen if name in running):
                    self.tell(name, "already-running", detail=address_of(name, state.ports))
                missing = [name for name in chosen if name not in running]
                if missing and stage is PROGRAMS:
                    _check_foundation(running_parts(state), missing[0])
                    if with_topics:
                        self._apply_topics(launcher)
                state = self._start_stage(missing, state, launcher, started)
        except BaseException:
            self.stop_all(reversed(started), read_state(self._site.state))
            raise

    def _start_stage(self, names: list[str], state: State, launcher: Launcher, started: list[str]) -> State:
        # All commands first: a missing tool is found before anything runs.
        commands: dict[str, tuple[str, ...]] = {}
        prepared_seconds: dict[str, float] = {}
        for name in names:
            began = time.monotonic()
            self.tell(name, "starting")
            commands[name] = launcher.command(name)
            prepared_seconds[name] = time.monotonic() - began
        waits: list[_Wait] = []
        for name, command in commands.items():
            log = self._site.log(name)
            log_start = log.stat().st_size if log.exists() else 0
            with uninterrupted():  # what runs and is not noted, nobody would stop
                identity = process.spawn(command, log)
                state = state.with_process(name, _record(identity, command, metrics_of(name, state.ports)))
                started.append(name)
                self.save(state)
            began = time.monotonic() - prepared_seconds[name]
            give_up = time.monotonic() + patience_of(name).start_seconds
            waits.append(_Wait(name, identity, probe_of(name, state.ports), began, give_up, log, log_start))
        while waits:
            waits = [wait for wait in waits if not self._is_ready(wait, state)]
            time.sleep(POLL_SECONDS if waits else 0)
        return state

    def _is_ready(self, wait: _Wait, state: State) -> bool:
        reason = wait.probe()
        # Asked after the probe: an answer may come from another program on the port of ours that just died.
        if not process.alive(wait.identity):
            raise StackError(f"{wait.name} ended while it was starting; its log is {wait.log}.", wait.tail())
        if reason is None:
            self.tell(wait.name, "ready", time.monotonic() - wait.began, address_of(wait.name, state.ports))
        elif time.monotonic() > wait.give_up:
            patience = patience_of(wait.name).start_seconds
            sentence = f"{wait.name} was not ready after {patience:.0f} s ({reason}); its log is {wait.log}."
            raise StackError(sentence, wait.tail())
        return reason is None

    def _apply_topics(self, launcher: Launcher) -> None:
        command = launcher.topics_command()
        if not command:
            return
        began, log = time.monotonic(), self._site.log("topics")
        self.tell("topics", "starting")
        with log.open("wb") as output:
            try:
                code = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=TOPICS_SECONDS, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                raise StackError(f"The topics were not applied within {TOPICS_SECONDS} s.", process.tail(log)) from None
        if code != 0:
            raise StackError(
                f"The topics could not be applied (exit code {code}); the log is {log}.", process.tail(log)
            )
        self.tell("topics", "ready", time.monotonic() - began, "created and checked")

    def stop_all(self, names: Iterable[str], state: State, *, kill: bool = False) -> State:
        """Stop what runs of `names`, all at once, and return the state without them."""
        chosen = list(names)
        running = running_parts(state)
        for name in chosen:
            if name in running and not kill:
                process.ask_to_stop(state.processes[name].identity)
        for name in chosen:
            if name in running:
                self._stop_one(name, state.processes[name], kill)
            state = state.without_process(name)
            self.save(state)
        return state

    def _stop_one(self, name: str, record: ProcessRecord, kill: bool) -> None:
        began = time.monotonic()
        if kill:
            process.kill(record.identity)
            self.tell(name, "killed", time.monotonic() - began)
            return
        patience = patience_of(name).stop_seconds
        self.tell(name, "stopping")
        if process.stop(record.identity, patience):
            self.tell(name, "stopped", time.monotonic() - began)
        else:
            self.tell(name, "killed", time.monotonic() - began, f"it did not end within {patience:.0f} s of SIGTERM")

    def save(self, state: State) -> None:
        """Write the runner's notes, and `endpoints.json`, which is there while anything is."""
        write_atomically(self._site.state, state)
        if state.processes:
            write_atomically(self._site.endpoints, endpoints_of(state.ports, state.processes))
        else:
            self._site.endpoints.unlink(missing_ok=True)

    def tell(self, name: str, event: Event, seconds: float = 0.0, detail: str = "") -> None:
        """Tell of one step."""
        self._report(Progress(name, event, seconds, detail))


def _check_foundation(running: list[str], name: str) -> None:
    away = [part for part in _FOUNDATION if part not in running]
    if away:
        raise StackError(f"{name} needs {away[0]}, which is not running; start it first (`start {away[0]}`).")


def _record(identity: Identity, command: tuple[str, ...], metrics: str | None) -> ProcessRecord:
    ticks, boot = identity.started_ticks, identity.boot
    return ProcessRecord(pid=identity.pid, started_ticks=ticks, boot=boot, command=command, metrics=metrics)


def running_parts(state: State) -> list[str]:
    """Return the names of the parts whose very process is alive."""
    return [name for name, record in state.processes.items() if process.alive(record.identity)]
