"""The programs of a chaos run, any number of each kind, every one an OS process of its own.

    crew = Crew(stack.site)
    await crew.start("engine", "engine-2")  # a first one is named by its kind alone
    crew.kill("engine")

Kafka, Redis and the sandbox are the stack's business. What runs is noted in the stack's folder: `sweep` ends what an
earlier run, that was killed itself, has left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import process
from deploy.local.errors import StackError
from deploy.local.ports import FREE_RANGE, HOST, is_free
from deploy.local.probes import http_probe
from deploy.local.process import Identity
from deploy.local.site import SERVICES, Site
from deploy.local.state import ProcessRecord, State, read_state, write_atomically

ROLES = ("router", "engine", "clock")
KINDS = (*ROLES, *SERVICES)
READY_SECONDS = 90.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 5.0
REFUSE_SECONDS = 60.0
"""How long a program may take to find out that it must not start."""
LOOK_SECONDS = 0.1
SNAPSHOT_SECONDS = 4
"""A change waits so long for its snapshot (10 minutes in production): a run is too short to wait."""
REFUSED = "refused to "
"""In the one line that a program logs about why it does not start, or go on."""
PERSON = "A person must decide"
"""In what an engine says on `/readyz` about a shard that it refuses to work on."""


def leaving(name: str) -> tuple[str, ...]:
    """The options of a program that will not come back under its name."""
    return ("--option", "leave_on_stop=yes") if kind_of(name) in SERVICES else ("--leave-on-stop",)


def kind_of(name: str) -> str:
    """`engine-2` is an engine."""
    return name.partition("-")[0]


@dataclass(slots=True)
class Member:
    """One running program."""

    name: str
    child: subprocess.Popen[bytes]
    identity: Identity
    port: int
    log_start: int


class Crew:
    """Starts, stops, kills, pauses. Raises StackError where a program does not do what it should."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._notes = site.data / "crew.json"
        self._members: dict[str, Member] = {}
        self._ports: dict[str, int] = {}

    def names(self, kind: str | None = None) -> tuple[str, ...]:
        """What runs, of one kind or of all."""
        return tuple(name for name in self._members if kind in (None, kind_of(name)))

    def log(self, name: str) -> Path:
        return self._site.log(name)

    def spawn(self, name: str, *, prefix: Sequence[str] = (), extra: Sequence[str] = ()) -> None:
        """Start one program and do not wait. `prefix`: a command that runs it; `extra`: more options for it."""
        assert name not in self._members, f"{name} runs already"
        port = self._ports.setdefault(name, _free_port(self._ports.values()))
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = (*prefix, *self._command(name, port), *extra)
        with log.open("ab") as output:
            start = output.tell()
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        identity = process.identify(child.pid) or Identity(child.pid, -1, process.boot_id())
        self._members[name] = Member(name, child, identity, port, start)
        self._save()

    async def start(self, *names: str, prefix: Sequence[str] = (), extra: Sequence[str] = ()) -> None:
        """Start programs side by side and wait until all are ready."""
        for name in names:
            self.spawn(name, prefix=prefix, extra=extra)
        await self.ready(*names)

    async def ready(self, *names: str, seconds: float = READY_SECONDS) -> None:
        """Wait until these, or all, answer `/readyz`. Raises StackError if one ends, or is not ready in time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + seconds
        for name in names or self.names():
            member = self._members[name]
            probe = http_probe(HOST, member.port)
            while (reason := await asyncio.to_thread(probe)) is not None:
                if member.child.poll() is not None:
                    raise StackError(f"{name} ended with exit code {member.child.returncode}.", self.said(name))
                if loop.time() > give_up:
                    raise StackError(f"{name} was not ready after {seconds:.0f} s ({reason}).", self.said(name))
                await asyncio.sleep(LOOK_SECONDS)

    async def not_ready(self, name: str, seconds: float = REFUSE_SECONDS) -> str:
        """Wait until the program says on `/readyz` why it cannot work, and return that. Raises StackError."""
        probe = http_probe(HOST, self._members[name].port)
        give_up = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < give_up:
            reason = await asyncio.to_thread(probe)
            if reason is not None and PERSON in reason:
                return reason
            await asyncio.sleep(LOOK_SECONDS)
        raise StackError(f"{name} did not say within {seconds:.0f} s that a person must decide.")

    async def refused(self, name: str) -> str:
        """Wait until the program has ended because it refused, and return its reason.

        Raises StackError if it does not end, ends with another exit code than 1, or does not give exactly one reason.
        """
        member = self._members[name]
        loop = asyncio.get_running_loop()
        give_up = loop.time() + REFUSE_SECONDS
        while member.child.poll() is None:
            if loop.time() > give_up:
                raise StackError(f"{name} goes on after {REFUSE_SECONDS:.0f} s, though it must refuse.")
            await asyncio.sleep(LOOK_SECONDS)
        self._forget(name)
        text = self.log(name).read_bytes()[member.log_start :].decode(errors="replace")
        lines = [line for line in text.splitlines() if REFUSED in line]
        if member.child.returncode != 1 or len(lines) != 1:
            sentence = (
                f"{name} ended with exit code {member.child.returncode} and {len(lines)} reasons; wanted 1 and 1."
            )
            raise StackError(sentence, process.tail(self.log(name)))
        return _reason(lines[0])

    async def metric(self, name: str, metric: str) -> float:
        """The value of a metric without labels of a program; 0 if it has none. Raises OSError: it does not answer."""
        url = f"http://{HOST}:{self._members[name].port}/metrics"
        with await asyncio.to_thread(urllib.request.urlopen, url, timeout=ANSWER_SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{metric} ")), 0.0)

    def alive(self, name: str) -> bool:
        member = self._members.get(name)
        return member is not None and member.child.poll() is None

    def kill(self, *names: str) -> None:
        """SIGKILL, all at once."""
        self._signal(names, signal.SIGKILL)
        for name in names:
            self._members[name].child.wait(STOP_SECONDS)
            self._forget(name)

    async def terminate(self, *names: str) -> None:
        """SIGTERM, all at once, and wait. Raises StackError if one does not end in time, or does not end with 0."""
        self._signal(names, signal.SIGTERM)
        for name in names:
            child = self._members[name].child
            try:
                await asyncio.to_thread(child.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill(name)
                raise StackError(f"{name} did not end within {STOP_SECONDS:.0f} s of SIGTERM.") from None
            self._forget(name)
            if child.returncode != 0:
                raise StackError(f"{name} ended with exit code {child.returncode} after SIGTERM.", self.said(name))

    def pause(self, *names: str) -> None:
        """SIGSTOP: alive, and doing nothing."""
        self._signal(names, signal.SIGSTOP)

    def resume(self, *names: str) -> None:
        """SIGCONT."""
        self._signal(names, signal.SIGCONT)

    def close(self) -> None:
        """End everything, politely first, and without an error if it is gone already."""
        alive = [name for name in self.names() if self.alive(name)]
        self.resume(*alive)
        self._signal(alive, signal.SIGTERM)
        for name in alive:
            try:
                self._members[name].child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill(name)
        self._members.clear()
        self._save()

    def sweep(self) -> None:
        """End what an earlier run in this folder has left running."""
        for record in read_state(self._notes).processes.values():
            if process.alive(record.identity):
                process.kill(record.identity)
        self._notes.unlink(missing_ok=True)

    def said(self, name: str) -> str:
        """The end of its log."""
        return process.tail(self.log(name))

    def _signal(self, names: Iterable[str], number: signal.Signals) -> None:
        for name in names:
            if self._members[name].child.poll() is None:
                os.kill(self._members[name].child.pid, number)

    def _forget(self, name: str) -> None:
        del self._members[name]
        self._save()

    def _command(self, name: str, port: int) -> tuple[str, ...]:
        kind = kind_of(name)
        assert kind in KINDS, f"there is no program {kind}"
        start: tuple[str, ...] = ("services", kind) if kind in SERVICES else ("orchestrator", "--roles", kind)
        if kind in ROLES:
            start = (*start, "--snapshot-after", str(SNAPSHOT_SECONDS))
        where = ("--endpoints", str(self._site.endpoints), "--metrics-port", str(port))
        return (self._site.python, "-m", *start, *where, "--instance", name)

    def _save(self) -> None:
        records: Mapping[str, ProcessRecord] = {
            name: ProcessRecord(
                pid=member.identity.pid,
                started_ticks=member.identity.started_ticks,
                boot=member.identity.boot,
                command=(),
            )
            for name, member in self._members.items()
        }
        write_atomically(self._notes, State(processes=records))


def _reason(line: str) -> str:
    try:
        return str(json.loads(line)["reason"])
    except (ValueError, KeyError):
        return line


def _free_port(taken: Iterable[int]) -> int:
    used = set(taken)
    return next(port for port in random.sample(FREE_RANGE, 200) if port not in used and is_free(port))
